#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("nested-page-table supports 64-bit targets only: table entries are 64-bit words");

mod entry;
mod format;
mod frames;
mod geometry;
mod host;
mod invalidation;
mod level;

pub use entry::{Entry, Leaf};
pub use format::{Format, UpdateRules};
pub use frames::HostFrames;
pub use geometry::{Geometry, GeometryError};
pub use host::TableHost;
pub use invalidation::{AddressSpaceId, Change, InvalidatedRange, Invalidation, Scope};
pub use level::Level;
