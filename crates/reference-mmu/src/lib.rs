#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

pub mod aarch64;
pub mod ept;
pub mod npt;
pub mod riscv;

mod access;
mod bits;
mod memory;
mod mmu;
mod regions;
mod walk;

pub use access::{Access, GuestMode, Permissions};
pub use memory::PhysicalMemory;
pub use mmu::NestedMmu;
pub use regions::Region;
pub use walk::{MAX_STEPS, MemoryKind, Step, Steps, Translation, Walk};
