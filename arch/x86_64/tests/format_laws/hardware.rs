//! The walker's view of an entry, written from the manual and sharing nothing with the crate, and
//! the inputs that the tests range over.

use mapping_flags::MappingFlags;
use nested_page_table::Level;
use nested_paging_x86_64::{Capabilities, Ept, ExecuteControl, Mode};

pub(crate) const CONTROLS: [ExecuteControl; 3] = [
    ExecuteControl::Single,
    ExecuteControl::BothModes,
    ExecuteControl::ByUser,
];

/// Every mode with every combination of capabilities.
pub(crate) fn formats() -> Vec<Ept> {
    let mut formats = Vec::new();
    for control in CONTROLS {
        for leaf in Level::BLOCK_1G.up_to() {
            for number in 0..16 {
                let capabilities = Capabilities::common()
                    .with_execute_control(control)
                    .with_largest_leaf(leaf)
                    .with_execute_only(number & 1 != 0)
                    .with_accessed_dirty_tracking(number & 2 != 0)
                    .with_suppress_ve(number & 8 != 0)
                    .with_physical_address_bits(if number & 4 != 0 { 39 } else { 52 });
                let mode = Mode::AUTO[usize::from(number % 3 == 0)];
                formats.push(Ept::new(mode, capabilities).unwrap());
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

/// What the hardware reads in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    NotPresent,
    Misconfigured,
    Table { address: u64 },
    Leaf(SeenLeaf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeenLeaf {
    pub(crate) address: u64,
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) supervisor_execute: bool,
    pub(crate) user_execute: bool,
    pub(crate) memory_type: u64,
    pub(crate) ignore_pat: bool,
    pub(crate) accessed: bool,
    pub(crate) dirty: bool,
    /// The bits that no processor looks at: 11, 56:52, 59, 62.
    pub(crate) ignored: u64,
}

fn field(word: u64, high: u32, low: u32) -> u64 {
    (word >> low) % (1 << (high - low + 1))
}

/// "EPT Translation Mechanism" and "EPT Misconfigurations" for one entry, where level 0 is the
/// EPT page table.
pub(crate) fn hardware_sees(machine: &Capabilities, level: u8, entry: u64) -> Seen {
    let mbec = machine.execute_control() != ExecuteControl::Single;
    let bit = |number| field(entry, number, number) == 1;
    let (read, write, supervisor) = (bit(0), bit(1), bit(2));
    let user = if mbec { bit(10) } else { supervisor };
    if !(read || write || supervisor || user) {
        return Seen::NotPresent;
    }
    if !read && (write || !machine.execute_only()) {
        return Seen::Misconfigured;
    }
    let address = field(entry, 51, 12) * 4096;
    if address >> machine.physical_address_bits() != 0 {
        return Seen::Misconfigured;
    }
    let size = match level {
        0 => 1 << 12,
        1 if bit(7) => 1_u64 << 21,
        2 if bit(7) => 1_u64 << 30,
        _ if field(entry, 7, 3) == 0 => return Seen::Table { address },
        _ => return Seen::Misconfigured,
    };
    let memory_type = field(entry, 5, 3);
    let has_size = machine.largest_leaf().number() >= level;
    if !has_size || !address.is_multiple_of(size) || [2, 3, 7].contains(&memory_type) {
        return Seen::Misconfigured;
    }
    Seen::Leaf(SeenLeaf {
        address,
        read,
        write,
        supervisor_execute: supervisor,
        user_execute: user,
        memory_type,
        ignore_pat: bit(6),
        accessed: bit(8),
        dirty: bit(9),
        ignored: entry & (1 << 11 | 0x1f << 52 | 1 << 59 | 1 << 62),
    })
}

/// "Memory Type Used for Translated Guest-Physical Addresses", and for the combination the table
/// "Effective Page-Level Memory Types" with the EPT type in the place of the MTRR's, for the guest's
/// WB (6), WT (4), WC (1) and UC (0).
pub(crate) fn effective_types(memory_type: u64, ignore_pat: bool) -> [u64; 4] {
    match (memory_type, ignore_pat) {
        (kind, true) => [kind; 4],
        (0, false) => [0, 0, 1, 0],
        (6, false) => [6, 4, 1, 0],
        _ => panic!("a type that is never made: {memory_type}"),
    }
}
