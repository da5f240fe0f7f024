//! Where EPT and NPT differ, as numbers: the entries of both are made and read by the same code.

use guest_addr::HostPhysAddr;
use mapping_flags::MappingFlags;
use nested_page_table::{Format, Level};

use crate::{bits, npt};

/// Which bits of a leaf say what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Masks {
    /// What a change of permissions may change.
    pub(super) permissions: u64,
    /// NX, where it takes `EXECUTE` from what bits 2:0 say.
    pub(super) no_execute: u64,
    /// The position of A. D is above it.
    pub(super) accessed_shift: u32,
}

impl Masks {
    pub(super) const EPT: Self = Self {
        permissions: bits::PERMISSIONS,
        no_execute: 0,
        accessed_shift: bits::ACCESSED.trailing_zeros(),
    };

    pub(super) const NPT: Self = Self {
        permissions: npt::PERMISSIONS,
        no_execute: npt::NO_EXECUTE,
        accessed_shift: npt::ACCESSED.trailing_zeros(),
    };
}

const _: () = assert!(bits::DIRTY == bits::ACCESSED << 1 && npt::DIRTY == npt::ACCESSED << 1);

/// The entries of one format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) masks: Masks,
    /// By the flags, one bit each: whether a leaf can have them.
    accepted: u64,
    /// By the flags: all of a leaf of 4 KiB but its address.
    leaves: [u64; 64],
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
        let leaf = |index: usize| {
            let flags = MappingFlags::from_bits_truncate(index as u32);
            format.leaf_attributes(page, flags)
        };
        let is_accepted = |bits: &u32| {
            let flags = MappingFlags::from_bits_retain(*bits);
            format.check_flags(flags).is_ok()
        };
        let output_bits = format.geometry().output_bits();
        Self {
            masks,
            accepted: (0..64)
                .filter(is_accepted)
                .fold(0, |all, bits| all | 1 << bits),
            leaves: core::array::from_fn(leaf),
            table: format.encode_table(HostPhysAddr::ZERO),
            address: bits::ADDRESS & !(u64::MAX << output_bits),
            root: format.root_register(HostPhysAddr::ZERO, 0),
            absent: format.absent(),
        }
    }

    /// Whether a leaf can have `flags`.
    #[inline]
    pub(super) const fn accepts(&self, flags: MappingFlags) -> bool {
        let bits = flags.bits();
        bits < 64 && self.accepted >> (bits & 63) & 1 == 1
    }

    /// All of a leaf of 4 KiB with `flags` but its address.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the index is below 64")]
    pub(super) fn leaf(&self, flags: MappingFlags) -> u64 {
        self.leaves[flags.bits() as usize % 64]
    }

    /// The leaf `bits` with the permissions of `flags`. D is preset where it goes with them, and never taken.
    #[inline]
    pub(super) fn with_permissions(&self, bits: u64, flags: MappingFlags) -> u64 {
        let leaf = self.leaf(flags.intersection(MappingFlags::PERMISSIONS));
        let given = self.masks.permissions | 2 << self.masks.accessed_shift;
        bits & !self.masks.permissions | leaf & given
    }

    /// A in bit 0 and D in bit 1 of what is left of `bits`.
    #[inline]
    pub(super) const fn state(&self, bits: u64) -> u64 {
        bits >> (self.masks.accessed_shift & 63)
    }

    /// The register that makes `root` the table of a guest.
    #[inline]
    pub(super) const fn root_register(&self, root: HostPhysAddr) -> u64 {
        root.as_u64() & self.address | self.root
    }
}
