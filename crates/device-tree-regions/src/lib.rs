#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod architecture;
mod cells;
mod dependency;
mod error;
mod header;
mod path;
mod properties;
mod region;
mod selection;
mod structure;
mod token;
mod translate;
mod tree;
mod visit;
mod walk;

pub use architecture::Architecture;
pub use dependency::{Dependency, DependencyKind, Named};
pub use error::{Block, DeviceTreeError, StructureFault};
pub use path::NodePath;
pub use region::{
    Clipped, Finding, Idle, IdleReason, Ignored, IgnoredReason, Memory, MemoryUse, Property, Region,
};
pub use selection::{Selection, WIDEST_ADDRESS_BITS};
pub use tree::{DeviceTree, MAX_COMPARISONS, MAX_DEPTH, MAX_PATH_BYTES};
