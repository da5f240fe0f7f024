//! Where EPT and NPT differ, as masks: the entries of both are made and read by the same code.

use guest_addr::HostPhysAddr;
use mapping_flags::MappingFlags;
use nested_page_table::{Format, Level};

use crate::{bits, npt};

const MEMORY_TYPE_SHIFT: u32 = 4;
const _: () = assert!(MappingFlags::DEVICE.bits() == 1 << MEMORY_TYPE_SHIFT);
const _: () = assert!(MappingFlags::UNCACHED.bits() == 2 << MEMORY_TYPE_SHIFT);

/// Which bits of a leaf say what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Masks {
    /// What a change of permissions may change.
    pub(super) permissions: u64,
    pub(super) memory_type: u64,
    /// Bits that say the opposite of a flag.
    pub(super) inverted: u64,
    /// The permissions in bits 2:0.
    pub(super) low_access: u64,
    /// `EXECUTE`, if bit 63 has it.
    pub(super) high_access: u64,
    pub(super) accessed: u64,
    pub(super) dirty: u64,
}

impl Masks {
    pub(super) const EPT: Self = Self {
        permissions: bits::PERMISSIONS,
        memory_type: bits::MEMORY_TYPE | bits::IGNORE_PAT,
        inverted: 0,
        low_access: bits::ACCESS,
        high_access: 0,
        accessed: bits::ACCESSED,
        dirty: bits::DIRTY,
    };

    /// What is present can be read.
    pub(super) const NPT: Self = Self {
        permissions: npt::PERMISSIONS,
        memory_type: npt::PAT_INDEX,
        inverted: npt::NO_EXECUTE,
        low_access: npt::PRESENT | npt::WRITE,
        high_access: MappingFlags::EXECUTE.bits() as u64,
        accessed: npt::ACCESSED,
        dirty: npt::DIRTY,
    };
}

/// The entries of one format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) masks: Masks,
    /// By the low four flags: what permissions set.
    permissions: [u64; 16],
    /// By the two flags of the memory type: what else a leaf of 4 KiB has.
    attributes: [u64; 4],
    /// The values of the memory type that mean these flags; one that no leaf has, if there is none.
    pub(super) device: u64,
    pub(super) uncached: u64,
    /// An entry that points to a table, without its address.
    pub(super) table: u64,
    /// The address bits below the width of the processor.
    pub(super) address: u64,
    /// The root register, without the address of the root.
    root: u64,
    pub(super) absent: u64,
}

impl Layout {
    /// The entries of `format`, whose leaves `masks` describe.
    pub(super) fn new(format: &impl Format, masks: Masks) -> Self {
        let page = Level::PAGE_4K;
        let flags = |index: usize| MappingFlags::from_bits_truncate(index as u32);
        let permissions = |flags| format.with_permissions(page, 0, flags);
        // What a leaf has beside its permissions.
        let attributes = |memory_type| {
            let plain = format.leaf_attributes(page, MappingFlags::READ | memory_type);
            plain & !permissions(MappingFlags::READ)
        };
        let memory_type = |flag| {
            let is_possible = format.check_flags(MappingFlags::READ | flag).is_ok();
            match is_possible {
                true => attributes(flag) & masks.memory_type,
                false => u64::MAX,
            }
        };
        let output_bits = format.geometry().output_bits();
        Self {
            masks,
            permissions: core::array::from_fn(|index| permissions(flags(index))),
            attributes: core::array::from_fn(|index| attributes(flags(index << MEMORY_TYPE_SHIFT))),
            device: memory_type(MappingFlags::DEVICE),
            uncached: memory_type(MappingFlags::UNCACHED),
            table: format.encode_table(HostPhysAddr::ZERO),
            address: bits::ADDRESS & !(u64::MAX << output_bits),
            root: format.root_register(HostPhysAddr::ZERO, 0),
            absent: format.absent(),
        }
    }

    /// What the permissions of `flags` set.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the index is below 16")]
    pub(super) fn permission_bits(&self, flags: MappingFlags) -> u64 {
        self.permissions[flags.bits() as usize % 16]
    }

    /// What else a leaf of 4 KiB with the memory type of `flags` has.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the index is below 4")]
    pub(super) fn attribute_bits(&self, flags: MappingFlags) -> u64 {
        self.attributes[(flags.bits() >> MEMORY_TYPE_SHIFT) as usize % 4]
    }

    /// The register that makes `root` the table of a guest.
    #[inline]
    pub(super) const fn root_register(&self, root: HostPhysAddr) -> u64 {
        root.as_u64() & self.address | self.root
    }
}
