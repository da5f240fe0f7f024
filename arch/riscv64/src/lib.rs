#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "nested-paging-riscv64 supports 64-bit targets only: table entries are 64-bit words"
);

mod bits;
mod capabilities;
mod detect;
mod format;
// Without a hosted operating system the instructions are executed; everywhere else they are not.
#[cfg(all(target_arch = "riscv64", not(any(unix, windows))))]
mod hardware;
#[cfg(not(all(target_arch = "riscv64", not(any(unix, windows)))))]
#[path = "elsewhere.rs"]
mod hardware;
mod hgatp;
mod instructions;
mod mode;

pub use capabilities::Capabilities;
pub use format::GStage;
pub use instructions::{Instruction, fence_i};
pub use mode::{Mode, ModeError, UnknownMode};
