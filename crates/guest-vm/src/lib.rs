#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("guest-vm supports 64-bit targets only: guest memory is copied through pointers");

extern crate alloc;

mod access;
mod address_space;
#[cfg(feature = "arceos")]
mod ax_error;
mod channel;
mod config;
mod error;
mod fault;
mod fault_statistics;
mod frames;
mod grant;
mod guest_copy;
mod guest_memory;
mod guest_use;
mod hal;
mod inspect;
mod leaves;
mod lock;
mod log;
mod memory_change;
#[cfg(feature = "zerocopy")]
mod objects;
#[cfg(feature = "arceos")]
mod paging_handler;
mod pinned;
mod populate;
mod region;
mod region_map;
mod set_vmid;
mod setup;
mod setup_error;
mod table_frames;
mod vm;
mod vmid_claim;
mod warning;
mod word_access;

pub use channel::IvcChannel;
pub use config::{
    EmulatedRegion, IVC_DEVICE_TYPE, MapType, MemoryRegion, PassthroughRegion, Population, VmConfig,
};
pub use error::VmError;
pub use fault::FaultOutcome;
pub use fault_statistics::FaultStatistics;
pub use guest_use::{GuestUse, HostMemoryKind};
pub use hal::VmHal;
pub use inspect::{AddressOwner, EmulatedDevice, GuestRegion};
pub use memory_change::Contents;
#[cfg(feature = "arceos")]
pub use paging_handler::PagingHandlerFrames;
pub use pinned::PinnedMemory;
pub use region::Occupant;
pub use setup_error::SetupError;
pub use vm::Vm;
pub use warning::{RegionSetting, SetupReport, SetupWarning};
pub use word_access::GuestWord;
