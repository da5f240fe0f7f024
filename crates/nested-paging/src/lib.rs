#![doc = include_str!("../README.md")]
//! # A bare table
//!
//! ```
#![doc = include_str!("../examples/bare_table.rs")]
//! ```
//!
//! # A virtual machine
//!
//! ```
#![doc = include_str!("../examples/guest_faults.rs")]
//! ```
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

pub use device_tree_regions;
pub use guest_addr;
pub use guest_vm;
pub use host_services;
pub use mapping_flags;
pub use nested_page_table;
pub use region_planner;

/// The RISC-V G-stage: Sv39x4, Sv48x4 and Sv57x4.
pub use nested_paging_riscv64 as riscv64;

/// AArch64 stage 2: VMSAv8-64 with the 4 KiB granule.
pub use nested_paging_aarch64 as aarch64;

/// Intel's extended page tables and AMD's nested paging, of 4 and 5 levels.
pub use nested_paging_x86_64 as x86_64;

// Whole, so that no type which a signature names is missing here.
pub use guest_addr::*;
pub use guest_vm::*;
pub use host_services::{
    FaultSource, GuestFault, HostMap, HostUse, Inside, NoGuestFault, Posted, RemoteInvalidation,
    Vmid, VmidError, Vmids,
};
pub use mapping_flags::*;
pub use nested_page_table::*;
pub use region_planner::{Origin, OverlapReason, PlanError};

pub use nested_paging_aarch64::Stage2;
pub use nested_paging_riscv64::GStage;
pub use nested_paging_x86_64::{Ept, Nested, Npt};

cfg_if::cfg_if! {
    if #[cfg(target_arch = "riscv64")] {
        /// The backend of the target that this is compiled for: [`riscv64`].
        pub use nested_paging_riscv64 as native;
    } else if #[cfg(target_arch = "aarch64")] {
        /// The backend of the target that this is compiled for: [`aarch64`].
        pub use nested_paging_aarch64 as native;
    } else if #[cfg(target_arch = "x86_64")] {
        /// The backend of the target that this is compiled for: [`x86_64`].
        pub use nested_paging_x86_64 as native;
    }
}
