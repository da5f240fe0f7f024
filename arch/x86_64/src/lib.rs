#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("nested-paging-x86-64 supports 64-bit targets only: table entries are 64-bit words");

mod bits;
mod capabilities;
mod detect;
mod eptp;
mod format;
// Without a hosted operating system the instructions are executed; everywhere else they are not.
#[cfg(all(target_arch = "x86_64", not(any(unix, windows))))]
mod hardware;
#[cfg(not(all(target_arch = "x86_64", not(any(unix, windows)))))]
#[path = "elsewhere.rs"]
mod hardware;
mod instructions;
mod mode;
pub mod nested;
mod note;
pub mod npt;
mod registers;
mod vm_fail;

pub use capabilities::{Capabilities, ExecuteControl};
pub use format::Ept;
pub use instructions::Instruction;
pub use mode::{Mode, ModeError, UnknownMode};
pub use nested::Nested;
pub use npt::Npt;
pub use registers::Registers;
pub use vm_fail::{InstructionFailed, VmFail};
