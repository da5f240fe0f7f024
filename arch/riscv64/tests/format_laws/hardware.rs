//! The walker's view of an entry, written from the manual and sharing nothing with the crate, and
//! the inputs that the tests range over.

use mapping_flags::MappingFlags;
use nested_page_table::Level;
use nested_paging_riscv64::{Capabilities, GStage, Mode};

/// Every mode with every combination of extensions.
pub(crate) fn formats() -> Vec<GStage> {
    let mut formats = Vec::new();
    for &mode in Mode::AUTO {
        for bits in 0..8 {
            let capabilities = Capabilities::common()
                .with_svpbmt(bits & 1 != 0)
                .with_svvptc(bits & 2 != 0)
                .with_accessed_dirty_tracking(bits & 4 != 0);
            formats.push(GStage::new(mode, capabilities).unwrap());
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
    Fault,
    Table { address: u64 },
    Leaf(SeenLeaf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeenLeaf {
    pub(crate) address: u64,
    /// "r", "rw", "rx", "rwx" or "x".
    pub(crate) access: &'static str,
    pub(crate) accessed: bool,
    pub(crate) dirty: bool,
    /// 0 PMA, 1 NC, 2 IO.
    pub(crate) pbmt: u64,
    /// The two bits that are the software's.
    pub(crate) rsw: u64,
}

fn field(word: u64, high: u32, low: u32) -> u64 {
    (word >> low) % (1 << (high - low + 1))
}

/// "Virtual Address Translation Process", steps 3 to 6, for one entry of a G-stage table, with the
/// fields of figure "Sv39 page table entry".
pub(crate) fn hardware_sees(svpbmt: bool, level: u8, pte: u64) -> Seen {
    let (v, r, w, x) = (
        field(pte, 0, 0),
        field(pte, 1, 1),
        field(pte, 2, 2),
        field(pte, 3, 3),
    );
    let (u, a, d) = (field(pte, 4, 4), field(pte, 6, 6), field(pte, 7, 7));
    let (ppn, reserved) = (field(pte, 53, 10), field(pte, 60, 54));
    let (pbmt, n) = (field(pte, 62, 61), field(pte, 63, 63));
    if v == 0 || (r == 0 && w == 1) || reserved != 0 || n != 0 {
        return Seen::Fault;
    }
    if pbmt == 3 || (pbmt != 0 && !svpbmt) {
        return Seen::Fault;
    }
    if r == 0 && x == 0 {
        let clean = u == 0 && a == 0 && d == 0 && pbmt == 0;
        return match clean && level > 0 {
            true => Seen::Table {
                address: ppn * 4096,
            },
            false => Seen::Fault,
        };
    }
    let misaligned = ppn % 512_u64.pow(u32::from(level)) != 0;
    if u == 0 || misaligned {
        return Seen::Fault;
    }
    Seen::Leaf(SeenLeaf {
        address: ppn * 4096,
        access: match (r, w, x) {
            (1, 0, 0) => "r",
            (1, 1, 0) => "rw",
            (1, 0, 1) => "rx",
            (1, 1, 1) => "rwx",
            _ => "x",
        },
        accessed: a == 1,
        dirty: d == 1,
        pbmt,
        rsw: field(pte, 9, 8),
    })
}
