#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("guest-addr supports 64-bit targets only: an address is a u64 and must fit a usize");

mod address;
#[cfg(feature = "arceos")]
mod arceos;
mod page;
mod range;
mod space;

pub use address::{Address, GuestPhysAddr, GuestVirtAddr, HostPhysAddr, HostVirtAddr};
pub use page::{PAGE_SIZE_4K, align_down_4k, align_up_4k, is_aligned_4k};
pub use range::{AddressRange, GuestPhysRange, GuestVirtRange, HostPhysRange, RangeError};
pub use space::{AddressSpace, GuestPhysical, GuestVirtual, HostPhysical, HostVirtual};
