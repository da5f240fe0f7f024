//! Conversions to and from `memory_addr`'s types.

use memory_addr::{PhysAddr, VirtAddr};

use crate::address::{GuestPhysAddr, GuestVirtAddr, HostPhysAddr, HostVirtAddr};

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
