//! The stage 2 descriptor.

use core::fmt;

use guest_addr::HostPhysAddr;

use super::config::Stage2;
use super::fault::{Strict, Why};
use crate::access::Permissions;
use crate::bits::{bit, field, mask};
use crate::regions::{Entry, Table, Tables};
use crate::walk::{MemoryKind, Translation};

// D8.3 "Translation table descriptor formats", stage 2: MemAttr 5:2, S2AP 7:6, SH 9:8, AF 10, OA 47:12,
// DBM 51, Contiguous 52, XN 54:53, software 58:55.
pub(super) const S2AP_WRITE: u32 = 7;
pub(super) const AF: u32 = 10;
pub(super) const DBM: u32 = 51;

/// The memory type of a block or page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// MemAttr\[3:0\], bits 5:2. HCR_EL2.FWB decides how it is read.
    pub mem_attr: u8,
    /// SH\[1:0\], bits 9:8: 0 non-shareable, 2 outer, 3 inner shareable. Without effect on Device and
    /// Non-cacheable memory, which is outer shareable.
    pub shareability: u8,
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MemAttr {:#06b}, SH {:#04b}",
            self.mem_attr, self.shareability
        )
    }
}

impl Stage2 {
    fn table(&self, level: u8, descriptor: u64) -> Entry<Attributes, Why, ()> {
        let bits = descriptor & (mask(63, 59) | mask(50, 48));
        if bits != 0 {
            return Entry::Illegal(Why::Strict(Strict::Res0 { bits }));
        }
        let address = HostPhysAddr::new(descriptor & mask(47, 12));
        if !address.fits_in(self.output_bits) {
            return Entry::Illegal(Why::AddressSize { address });
        }
        Entry::Table {
            address,
            level: level + 1,
            inherited: (),
        }
    }

    fn leaf(&self, level: u8, descriptor: u64) -> Result<Translation<Attributes>, Why> {
        self.check_strict(level, descriptor).map_err(Why::Strict)?;
        let address = HostPhysAddr::new(descriptor & mask(47, Self::shift(level)));
        if !address.fits_in(self.output_bits) {
            return Err(Why::AddressSize { address });
        }
        if !bit(descriptor, AF) && !self.access_flag {
            return Err(Why::AccessFlag);
        }
        let mem_attr = field(descriptor, 5, 2) as u8;
        let tracked = self.dirty_state && bit(descriptor, DBM);
        Ok(Translation {
            address,
            page_size: 1 << Self::shift(level),
            permissions: self.permissions(descriptor),
            attributes: Attributes {
                mem_attr,
                shareability: field(descriptor, 9, 8) as u8,
            },
            kind: kind(mem_attr, self.features.force_write_back),
            accessed: Some(bit(descriptor, AF)),
            dirty: tracked.then(|| bit(descriptor, S2AP_WRITE)),
        })
    }

    /// What a descriptor must not contain, although no fault is promised for it.
    fn check_strict(&self, level: u8, descriptor: u64) -> Result<(), Strict> {
        let bits = descriptor & self.leaf_res0();
        if bits != 0 {
            return Err(Strict::Res0 { bits });
        }
        let bits = match level {
            3 => 0,
            _ => descriptor & mask(Self::shift(level) - 1, 12),
        };
        if bits != 0 {
            return Err(Strict::MisalignedBlock { bits });
        }
        let mem_attr = field(descriptor, 5, 2) as u8;
        if is_reserved_mem_attr(mem_attr, self.features.force_write_back) {
            return Err(Strict::ReservedMemAttr { mem_attr });
        }
        if field(descriptor, 9, 8) == 1 {
            return Err(Strict::ReservedShareability);
        }
        match bit(descriptor, 52) {
            true => Err(Strict::Contiguous),
            false => Ok(()),
        }
    }

    fn leaf_res0(&self) -> u64 {
        let mut res0 = mask(50, 48) | mask(11, 11);
        if !self.features.hardware_dirty_state {
            res0 |= mask(DBM, DBM);
        }
        if !self.features.execute_never_extended {
            res0 |= mask(53, 53);
        }
        res0
    }

    /// `AArch64.S2ApplyOutputPerms` and the direct permissions of D8.4 "Stage 2 permissions": S2AP\[0\]
    /// reads, S2AP\[1\] writes, and execution asks for neither. With DBM under VTCR_EL2.HA and HD the page
    /// counts as writable.
    fn permissions(&self, descriptor: u64) -> Permissions {
        // XN[1:0]: 00 both, 01 EL0 only, 10 neither, 11 EL1 only.
        let (el1, el0) = match field(descriptor, 54, 53) {
            0b00 => (true, true),
            0b01 => (false, true),
            0b10 => (false, false),
            _ => (true, false),
        };
        Permissions {
            read: bit(descriptor, 6),
            write: bit(descriptor, S2AP_WRITE) || (self.dirty_state && bit(descriptor, DBM)),
            execute_user: el0,
            execute_supervisor: el1,
        }
    }
}

/// D8.6 "Stage 2 memory region type and Cacheability attributes": without FWB MemAttr\[3:2\] is Device
/// or the outer and \[1:0\] the inner Cacheability, of which 00 is reserved. With FWB
/// (`AArch64.S2ApplyFWBMemAttrs`) bit 3 is RES0 and 0100 reserved.
fn is_reserved_mem_attr(mem_attr: u8, force_write_back: bool) -> bool {
    match force_write_back {
        true => mem_attr == 0b0100 || mem_attr >= 0b1000,
        false => matches!(mem_attr, 0b0100 | 0b1000 | 0b1100),
    }
}

/// The same tables. With FWB 0111 leaves the choice to stage 1, and 0110 forces Write-Back; without it
/// 1111 is Write-Back as far as stage 2 goes.
fn kind(mem_attr: u8, force_write_back: bool) -> MemoryKind {
    match (mem_attr, force_write_back) {
        (0b0000..=0b0011, _) => MemoryKind::Device,
        (0b0101, _) => MemoryKind::Uncached,
        (0b0110, true) | (0b1111, false) => MemoryKind::WriteBack,
        _ => MemoryKind::Other,
    }
}

impl Tables for Stage2 {
    type Attributes = Attributes;
    type Why = Why;
    type Inherited = ();

    const UNREADABLE: Why = Why::ExternalAbort;

    fn root(&self) -> Table<()> {
        Table {
            address: self.root,
            level: self.start_level,
            index_bits: self.input_bits - Self::shift(self.start_level),
            start: 0,
            inherited: (),
        }
    }

    fn shift(level: u8) -> u32 {
        12 + 9 * (3 - u32::from(level))
    }

    /// `AArch64.DecodeDescriptorType`, then the parts of `AArch64.S2Walk` that depend on the
    /// descriptor alone.
    fn decode(&self, level: u8, descriptor: u64, (): ()) -> Entry<Attributes, Why, ()> {
        match (field(descriptor, 1, 0), level) {
            (0b00 | 0b10, _) => return Entry::Absent,
            (0b11, 0..=2) => return self.table(level, descriptor),
            (0b01, 0) => return Entry::Illegal(Why::BlockAtLevel0),
            (0b01, 3) => return Entry::Illegal(Why::ReservedAtLevel3),
            _ => {}
        }
        match self.leaf(level, descriptor) {
            Ok(translation) => Entry::Leaf(translation),
            Err(why) => Entry::Illegal(why),
        }
    }
}
