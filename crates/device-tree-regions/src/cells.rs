//! Numbers made of 32-bit cells.

/// How many cells an address and a size take on a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cells {
    pub(crate) address: u16,
    pub(crate) size: u16,
}

impl Cells {
    /// Devicetree Specification v0.4, section 2.3.5: "2 for #address-cells, and 1 for #size-cells".
    pub(crate) const DEFAULT: Self = Self {
        address: 2,
        size: 1,
    };

    /// Whether an address on this bus can be that of a CPU: three cells are a PCI address, say.
    pub(crate) fn hold_cpu_address(self) -> bool {
        matches!(self.address, 1 | 2)
    }

    /// Whether addresses on this bus can be translated.
    pub(crate) fn hold_bus_address(self) -> bool {
        matches!(self.address, 1..=3)
    }
}

/// An address on some bus.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct BusAddress {
    /// The first of three cells: a space code on PCI, a space by itself on other buses. `None` where
    /// addresses have fewer cells.
    pub(crate) first_cell: Option<u32>,
    pub(crate) value: u64,
}

impl BusAddress {
    pub(crate) const fn plain(value: u64) -> Self {
        Self {
            first_cell: None,
            value,
        }
    }
}

/// The address in a field of any number of cells, or `None` when it exceeds 64 bits. Three cells are a
/// first cell and a number.
pub(crate) fn address(field: &[u8]) -> Option<BusAddress> {
    match field.split_first_chunk() {
        Some((first_cell, rest)) if field.len() == 12 => Some(BusAddress {
            first_cell: Some(u32::from_be_bytes(*first_cell)),
            value: number(rest)?,
        }),
        _ => number(field).map(BusAddress::plain),
    }
}

/// The one cell of a value.
pub(crate) fn read_u32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// The value of `#address-cells` or `#size-cells`. A count that does not fit becomes the largest
/// that does: no property is long enough for either.
pub(crate) fn read_count(value: &[u8]) -> Option<u16> {
    let count = u32::from_be_bytes(value.try_into().ok()?);
    Some(u16::try_from(count).unwrap_or(u16::MAX))
}

/// The size of an entry whose fields take so many cells, in bytes.
pub(crate) fn entry_bytes<const N: usize>(counts: [u16; N]) -> usize {
    counts
        .iter()
        .fold(0, |sum, &count| sum.saturating_add(field_bytes(count)))
}

fn field_bytes(count: u16) -> usize {
    usize::from(count).saturating_mul(4)
}

/// The entries of a property, or `None` when its value is not a whole number of them.
pub(crate) fn entries<const N: usize>(
    value: &[u8],
    counts: [u16; N],
) -> Option<core::slice::ChunksExact<'_, u8>> {
    if value.is_empty() {
        return Some(value.chunks_exact(1));
    }
    let size = entry_bytes(counts);
    (size != 0 && value.len().is_multiple_of(size)).then(|| value.chunks_exact(size))
}

/// How many entries a property has: 0 when its value is not a whole number of them.
pub(crate) fn count<const N: usize>(value: &[u8], counts: [u16; N]) -> usize {
    entries(value, counts).map_or(0, |entries| entries.len())
}

/// Takes the next `count` cells off the entry.
pub(crate) fn take_field<'a>(entry: &mut &'a [u8], count: u16) -> &'a [u8] {
    let (field, rest) = entry
        .split_at_checked(field_bytes(count))
        .unwrap_or_default();
    *entry = rest;
    field
}

/// The number in a field, or `None` when it exceeds 64 bits. No cells are the number 0.
pub(crate) fn number(field: &[u8]) -> Option<u64> {
    if let Ok(cell) = field.try_into() {
        return Some(u32::from_be_bytes(cell).into());
    }
    let Some((high, low)) = field.split_last_chunk() else {
        return Some(0);
    };
    let fits = high.iter().all(|&byte| byte == 0);
    fits.then(|| u64::from_be_bytes(*low))
}
