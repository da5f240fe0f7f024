//! The walker's view of an entry, written from the APM and sharing nothing with the crate, and the inputs that the
//! tests range over.

use mapping_flags::MappingFlags;
use nested_page_table::Level;
use nested_paging_x86_64::npt::{Capabilities, Mode, Npt, Pat};

/// After reset; Linux'; Xen's; one without UC-; one with neither UC- nor WC.
pub(crate) const PATS: [u64; 5] = [
    0x0007_0406_0007_0406,
    0x0407_0506_0007_0106,
    0x0501_0004_0007_0406,
    0x0007_0406_0001_0406,
    0x0007_0406_0004_0406,
];

/// Every mode with every combination of capabilities.
pub(crate) fn formats() -> Vec<Npt> {
    let mut formats = Vec::new();
    for (index, pat) in PATS.into_iter().enumerate() {
        for leaf in Level::BLOCK_1G.up_to() {
            for number in 0..8 {
                let capabilities = Capabilities::common()
                    .with_pat(Pat::new(pat))
                    .with_largest_leaf(leaf)
                    .with_accessed_dirty_tracking(number & 1 != 0)
                    .with_flush_by_asid(number & 2 != 0)
                    .with_physical_address_bits(if number & 4 != 0 { 40 } else { 52 });
                let mode = Mode::AUTO[(number + index) % 2];
                formats.push(Npt::new(mode, capabilities).unwrap());
            }
        }
    }
    formats
}

pub(crate) fn level(number: u8) -> Level {
    Level::new(number).unwrap()
}

/// The flags without unknown bits.
pub(crate) fn all_flags() -> impl Iterator<Item = MappingFlags> {
    (0..0x40).map(MappingFlags::from_bits_retain)
}

/// What the hardware reads in an entry, for the access of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    NotPresent,
    /// A bit that must be zero is not.
    Reserved,
    /// U/S is 0: no guest gets through.
    SupervisorOnly,
    Table {
        address: u64,
    },
    Leaf(SeenLeaf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeenLeaf {
    pub(crate) address: u64,
    pub(crate) write: bool,
    pub(crate) execute: bool,
    /// The type in the host's PAT: UC 0, WC 1, WT 4, WP 5, WB 6, UC- 7.
    pub(crate) memory_type: u64,
    pub(crate) accessed: bool,
    pub(crate) dirty: bool,
    /// The bits for software: 11:9 and 58:52, the protection key in 62:59, and G in bit 8.
    pub(crate) ignored: u64,
}

fn field(word: u64, high: u32, low: u32) -> u64 {
    (word >> low) % (1 << (high - low + 1))
}

/// APM vol. 2, 5.3.3 to 5.3.5 and 5.4.1 for one entry with EFER.NXE = 1, where level 0 is the page table.
pub(crate) fn hardware_sees(machine: &Capabilities, level: u8, entry: u64) -> Seen {
    let bit = |number| field(entry, number, number) == 1;
    if !bit(0) {
        return Seen::NotPresent;
    }
    let address = field(entry, 51, 12) * 4096;
    if address >> machine.physical_address_bits() != 0 {
        return Seen::Reserved;
    }
    // The size in bytes, the number of address bits that must be zero, and the bit called PAT.
    let (size_bits, pat) = match level {
        0 => (12, 7),
        1 if bit(7) => (21, 12),
        2 if bit(7) => (30, 12),
        3.. if field(entry, 8, 7) != 0 => return Seen::Reserved,
        _ if !bit(2) => return Seen::SupervisorOnly,
        _ => return Seen::Table { address },
    };
    let has_size = machine.largest_leaf().number() >= level;
    let must_be_zero = match size_bits {
        12 => 0,
        bits => field(entry, bits - 1, 13),
    };
    if !has_size || must_be_zero != 0 {
        return Seen::Reserved;
    }
    if !bit(2) {
        return Seen::SupervisorOnly;
    }
    let index = field(entry, pat, pat) * 4 + field(entry, 4, 4) * 2 + field(entry, 3, 3);
    Seen::Leaf(SeenLeaf {
        address: field(entry, 51, size_bits) << size_bits,
        write: bit(1),
        execute: !bit(63),
        memory_type: machine.pat().bits() >> (8 * index) & 0xff,
        accessed: bit(5),
        dirty: bit(6),
        ignored: entry & (0xf << 8 | 0x7ff << 52),
    })
}

/// 15.25.8, "Combining Guest and Host PAT Types", for the guest's WB, WT, WC and UC. CD, which UC- and WP make of
/// some, is an uncached type that snoops: UC here.
pub(crate) fn effective_types(host: u64) -> [u64; 4] {
    match host {
        0 | 7 => [0, 0, 1, 0],
        1 => [1, 0, 1, 0],
        6 => [6, 4, 1, 0],
        _ => panic!("a type that is never made: {host}"),
    }
}
