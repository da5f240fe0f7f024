//! Sizes for people.

/// `bytes` in the largest unit that needs no fraction: `64 KiB`, `3 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut number = bytes;
    let mut unit = "bytes";
    for next in UNITS {
        if number == 0 || !number.is_multiple_of(1024) {
            break;
        }
        number /= 1024;
        unit = next;
    }
    format!("{number} {unit}")
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn no_fractions() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(0x1000), "4 KiB");
        assert_eq!(size(0x20_1000), "2052 KiB");
        assert_eq!(size(0xc000_0000), "3 GiB");
        assert_eq!(size(1 << 63), "8 EiB");
    }
}
