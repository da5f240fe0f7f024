#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "host-services supports 64-bit targets only: a VMID must fit a usize, and addresses a pointer"
);

#[cfg(feature = "alloc")]
extern crate alloc;

mod guest_fault;
#[cfg(feature = "alloc")]
mod host_map;
mod remote;
mod vmids;

pub use guest_fault::{
    ExitRegisters, FaultSource, GuestFault, NoGuestFault, aarch64, ept, npt, riscv64,
};
#[cfg(feature = "alloc")]
#[cfg_attr(docsrs, doc(cfg(feature = "alloc")))]
pub use host_map::{HostMap, HostUse};
pub use remote::{Inside, Posted, RemoteInvalidation, sbi};
pub use vmids::{Vmid, VmidError, Vmids};
