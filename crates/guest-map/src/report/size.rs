//! Sizes for people.

const UNITS: [&str; 7] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// `bytes` in the largest unit that needs no fraction: `64 KiB`, `3 GiB`. Where that takes more than four
/// digits, in a larger unit with two decimals, or one: `15.50 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let exact = match bytes {
        0 => 0,
        _ => bytes.trailing_zeros() as usize / 10,
    };
    let unit = |unit: usize| UNITS.get(unit).copied().unwrap_or_default();
    let number = bytes >> (10 * exact);
    if number < 10_000 {
        return format!("{number} {}", unit(exact));
    }
    let larger = bytes.ilog2() as usize / 10;
    let hundredths = (u128::from(bytes) * 100) >> (10 * larger);
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match whole {
        0..1000 => format!("{whole}.{rest:02} {}", unit(larger)),
        _ => format!("{whole}.{} {}", rest / 10, unit(larger)),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn four_digits_or_decimals() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(0x1000), "4 KiB");
        assert_eq!(size(0x20_1000), "2052 KiB");
        assert_eq!(size(0xc000_0000), "3 GiB");
        assert_eq!(size(131_136 << 10), "128.06 MiB");
        assert_eq!(size(15_876 << 10), "15.50 MiB");
        assert_eq!(size(u64::MAX), "15.99 EiB");
        assert_eq!(size(1 << 63), "8 EiB");
    }
}
