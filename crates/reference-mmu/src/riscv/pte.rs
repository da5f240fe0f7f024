//! The page-table entry.

use core::fmt;

use guest_addr::HostPhysAddr;

use super::config::GStage;
use super::fault::Why;
use crate::access::Permissions;
use crate::bits::{bit, field, mask};
use crate::regions::{Entry, Table, Tables};
use crate::walk::{MemoryKind, Translation};

// "Sv32" and "Sv39": V 0, R 1, W 2, X 3, U 4, G 5, A 6, D 7, RSW 9:8, PPN 53:10, reserved 60:54,
// PBMT 62:61, N 63. G is ignored in a G-stage ("Guest Physical Address Translation"), RSW always.
pub(super) const V: u32 = 0;
pub(super) const R: u32 = 1;
pub(super) const W: u32 = 2;
pub(super) const X: u32 = 3;
pub(super) const U: u32 = 4;
pub(super) const A: u32 = 6;
pub(super) const D: u32 = 7;
pub(super) const N: u32 = 63;

const PBMT: u64 = mask(62, 61);

/// The memory type of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// PBMT: 0 PMA, 1 NC, 2 IO. A type in the VS-stage overrides it.
    pub pbmt: u8,
    /// N: the leaf is one of sixteen that map 64 KiB.
    pub napot: bool,
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.pbmt {
            0 => "PMA",
            1 => "NC",
            2 => "IO",
            _ => "reserved",
        };
        let napot = if self.napot { ", NAPOT" } else { "" };
        write!(f, "PBMT {name}{napot}")
    }
}

impl GStage {
    /// Steps 3 to 5 of VATP, and the U bit of step 6. `level` is its i.
    pub(super) fn decode_pte(&self, level: u8, pte: u64) -> Entry<Attributes, Why, ()> {
        if !bit(pte, V) {
            return Entry::Absent;
        }
        if let Err(why) = self.check_reserved(level, pte) {
            return Entry::Illegal(why);
        }
        if is_leaf(pte) {
            return match leaf(level, pte) {
                Ok(translation) => Entry::Leaf(translation),
                Err(why) => Entry::Illegal(why),
            };
        }
        match level.checked_sub(1) {
            None => Entry::Illegal(Why::PointerAtLevel0),
            Some(level) => Entry::Table {
                address: HostPhysAddr::new(field(pte, 53, 10) << 12),
                level,
                inherited: (),
            },
        }
    }

    /// Step 3 for a PTE with V = 1.
    fn check_reserved(&self, level: u8, pte: u64) -> Result<(), Why> {
        if !bit(pte, R) && bit(pte, W) {
            return Err(Why::WriteWithoutRead);
        }
        let bits = pte & self.reserved_bits();
        if bits != 0 {
            return Err(Why::ReservedBits { bits });
        }
        if !is_leaf(pte) {
            let bits = pte & (mask(D, A) | mask(U, U) | PBMT | mask(N, N));
            return match bits {
                0 => Ok(()),
                bits => Err(Why::NonLeafBits { bits }),
            };
        }
        if field(pte, 62, 61) == 3 {
            return Err(Why::ReservedMemoryType);
        }
        // Svnapot: only i = 0 with ppn[3:0] = 1000, a 64 KiB region, is defined.
        if bit(pte, N) && (level > 0 || field(pte, 13, 10) != 0b1000) {
            return Err(Why::NapotEncoding);
        }
        Ok(())
    }

    fn reserved_bits(&self) -> u64 {
        let features = &self.features;
        let high = if features.svrsw60t59b { 58 } else { 60 };
        let pbmt = if features.pbmte { 0 } else { PBMT };
        let napot = if features.svnapot { 0 } else { mask(N, N) };
        mask(high, 54) | pbmt | napot
    }
}

/// Step 4: R or X makes a leaf.
fn is_leaf(pte: u64) -> bool {
    bit(pte, R) || bit(pte, X)
}

fn leaf(level: u8, pte: u64) -> Result<Translation<Attributes>, Why> {
    // Step 5: pte.ppn[i-1:0] must be zero.
    if level > 0 && field(pte, 9 + 9 * u32::from(level), 10) != 0 {
        return Err(Why::MisalignedSuperpage);
    }
    if !bit(pte, U) {
        return Err(Why::NotUser);
    }
    let napot = bit(pte, N);
    // Svnapot: the low bits of ppn give way to those of vpn, as in a superpage.
    let page_bits = if napot { 16 } else { GStage::shift(level) };
    let pbmt = field(pte, 62, 61);
    Ok(Translation {
        address: HostPhysAddr::new(field(pte, 53, 10) << 12),
        page_size: 1 << page_bits,
        permissions: Permissions {
            read: bit(pte, R),
            write: bit(pte, W),
            execute_user: bit(pte, X),
            execute_supervisor: bit(pte, X),
        },
        attributes: Attributes {
            pbmt: pbmt as u8,
            napot,
        },
        // Svpbmt, table "Encodings for PBMT field".
        kind: match pbmt {
            1 => MemoryKind::Uncached,
            2 => MemoryKind::Device,
            _ => MemoryKind::Platform,
        },
        accessed: Some(bit(pte, A)),
        dirty: Some(bit(pte, D)),
    })
}

impl Tables for GStage {
    type Attributes = Attributes;
    type Why = Why;
    type Inherited = ();

    const UNREADABLE: Why = Why::AccessFault;

    fn root(&self) -> Table<()> {
        Table {
            address: self.root,
            level: self.levels - 1,
            index_bits: 11,
            start: 0,
            inherited: (),
        }
    }

    fn shift(level: u8) -> u32 {
        12 + 9 * u32::from(level)
    }

    fn decode(&self, level: u8, pte: u64, (): ()) -> Entry<Attributes, Why, ()> {
        match self.decode_pte(level, pte) {
            Entry::Leaf(leaf) if leaf.accessed == Some(false) && !self.features.adue => {
                Entry::Illegal(Why::AccessedClear)
            }
            entry => entry,
        }
    }
}
