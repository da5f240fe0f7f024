//! One address in one space.

use core::fmt;
use core::marker::PhantomData;

use crate::page::PAGE_SIZE_4K;
use crate::space::{AddressSpace, GuestPhysical, GuestVirtual, HostPhysical, HostVirtual};

/// A guest-physical address: what a guest believes to be physical.
pub type GuestPhysAddr = Address<GuestPhysical>;
/// A host-physical address: what the memory bus sees.
pub type HostPhysAddr = Address<HostPhysical>;
/// A guest-virtual address: the input of the guest's own page tables.
pub type GuestVirtAddr = Address<GuestVirtual>;
/// A host-virtual address: what the hypervisor dereferences.
pub type HostVirtAddr = Address<HostVirtual>;

/// A byte address in the space `S`.
///
/// Every `u64` is an address; whether a table can translate it depends on the table's mode.
/// There are no arithmetic operators: sums and differences are checked and say so in their names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Address<S: AddressSpace> {
    raw: u64,
    space: PhantomData<S>,
}

impl<S: AddressSpace> Address<S> {
    /// The first byte of the space.
    pub const ZERO: Self = Self::new(0);

    /// The last byte of the space.
    pub const LAST: Self = Self::new(u64::MAX);

    /// The address `raw`, in bytes.
    #[inline]
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self {
            raw,
            space: PhantomData,
        }
    }

    /// The address as a number of bytes from the start of its space.
    #[inline]
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.raw
    }

    /// The address `raw`. Lossless: only 64-bit targets are supported.
    #[inline]
    #[must_use]
    pub const fn from_usize(raw: usize) -> Self {
        Self::new(raw as u64)
    }

    /// The address as a `usize`. Lossless: only 64-bit targets are supported.
    #[inline]
    #[must_use]
    pub const fn as_usize(self) -> usize {
        self.raw as usize
    }

    /// `self + bytes`, or `None` past the last byte of the space.
    #[inline]
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.raw.checked_add(bytes) {
            Some(raw) => Some(Self::new(raw)),
            None => None,
        }
    }

    /// `self - bytes`, or `None` before the first byte of the space.
    #[inline]
    #[must_use]
    pub const fn checked_sub(self, bytes: u64) -> Option<Self> {
        match self.raw.checked_sub(bytes) {
            Some(raw) => Some(Self::new(raw)),
            None => None,
        }
    }

    /// The bytes from `base` to `self`, or `None` when `self` lies before `base`.
    #[inline]
    #[must_use]
    pub const fn checked_offset_from(self, base: Self) -> Option<u64> {
        self.raw.checked_sub(base.raw)
    }

    /// The start of the 4 KiB page that holds this address.
    #[inline]
    #[must_use]
    pub const fn align_down_4k(self) -> Self {
        Self::new(crate::align_down_4k(self.raw))
    }

    /// The first 4 KiB boundary at or after this address, or `None` when that is 2^64.
    #[inline]
    #[must_use]
    pub const fn align_up_4k(self) -> Option<Self> {
        match crate::align_up_4k(self.raw) {
            Some(raw) => Some(Self::new(raw)),
            None => None,
        }
    }

    /// Whether this address is the first of a 4 KiB page.
    #[inline]
    #[must_use]
    pub const fn is_aligned_4k(self) -> bool {
        crate::is_aligned_4k(self.raw)
    }

    /// The byte within the 4 KiB page: 0 to 4095.
    #[inline]
    #[must_use]
    pub const fn page_offset_4k(self) -> u64 {
        self.raw & (PAGE_SIZE_4K - 1)
    }

    /// Whether the `bits` low bits are zero. `bits` of 64 and more ask for address 0.
    #[inline]
    #[must_use]
    pub const fn has_zero_low_bits(self, bits: u32) -> bool {
        self.raw.trailing_zeros() >= if bits > 64 { 64 } else { bits }
    }

    /// Whether the address fits in `bits` bits: all higher bits are zero.
    #[inline]
    #[must_use]
    pub const fn fits_in(self, bits: u32) -> bool {
        match self.raw.checked_shr(bits) {
            Some(high) => high == 0,
            None => true,
        }
    }
}

impl<S: AddressSpace> Default for Address<S> {
    fn default() -> Self {
        Self::ZERO
    }
}

impl<S: AddressSpace> fmt::Debug for Address<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:#x})", S::NAME, self.raw)
    }
}

impl<S: AddressSpace> fmt::Display for Address<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.raw)
    }
}

impl<S: AddressSpace> fmt::LowerHex for Address<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.raw, f)
    }
}

impl<S: AddressSpace> fmt::UpperHex for Address<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::UpperHex::fmt(&self.raw, f)
    }
}
