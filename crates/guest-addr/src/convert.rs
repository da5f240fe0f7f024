//! Conversions at the edge: `memory_addr`'s types, and `usize`.

use memory_addr::{PhysAddr, VirtAddr};

use crate::address::{Address, GuestPhysAddr, GuestVirtAddr, HostPhysAddr, HostVirtAddr};
use crate::space::AddressSpace;

impl<S: AddressSpace> Address<S> {
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
        self.as_u64() as usize
    }
}

macro_rules! convert_both_ways {
    ($($ours:ty => $theirs:ty),+ $(,)?) => {$(
        impl From<$theirs> for $ours {
            #[inline]
            fn from(address: $theirs) -> Self {
                Self::from_usize(address.as_usize())
            }
        }

        impl From<$ours> for $theirs {
            #[inline]
            fn from(address: $ours) -> Self {
                Self::from_usize(address.as_usize())
            }
        }
    )+};
}

convert_both_ways! {
    HostPhysAddr => PhysAddr,
    GuestPhysAddr => PhysAddr,
    HostVirtAddr => VirtAddr,
    GuestVirtAddr => VirtAddr,
}
