#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]
#![warn(clippy::indexing_slicing)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("nested-paging-aarch64 supports 64-bit targets only: descriptors are 64-bit words");

mod capabilities;
mod descriptor;
mod detect;
mod errata;
mod format;
// Without a hosted operating system the instructions are executed; everywhere else they are not.
#[cfg(all(target_arch = "aarch64", not(any(unix, windows))))]
mod hardware;
#[cfg(not(all(target_arch = "aarch64", not(any(unix, windows)))))]
#[path = "elsewhere.rs"]
mod hardware;
mod id_registers;
mod instructions;
mod mode;
mod operands;
mod physical_address_range;
mod registers;
mod sequence;

pub use capabilities::Capabilities;
pub use format::Stage2;
pub use id_registers::IdRegisters;
pub use instructions::Instruction;
pub use mode::{Mode, ModeError};
pub use physical_address_range::PhysicalAddressRange;
pub use registers::Stage2Registers;
