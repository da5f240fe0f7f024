#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("nested-page-table supports 64-bit targets only: table entries are 64-bit words");

mod build;
mod edit;
mod entry;
mod error;
mod format;
mod frames;
mod gather;
mod geometry;
mod host;
mod invalidation;
mod level;
mod map;
mod mapping;
mod one_page;
mod pass;
mod policy;
mod protect;
mod recent;
mod reclaim;
mod release;
mod report;
mod reserve;
mod retired;
mod rewrite;
mod slots;
mod split;
mod statistics;
mod survey;
mod table;
mod tables;
mod unmap;
mod visit;
mod words;

pub use edit::Edit;
pub use entry::{Entry, Leaf};
pub use error::{MapError, NewTableError, ProtectError, UnmapError};
pub use format::{Format, UpdateRules};
pub use frames::HostFrames;
pub use geometry::{Geometry, GeometryError};
pub use host::TableHost;
pub use invalidation::{AddressSpaceId, Change, InvalidatedRange, Invalidation, Scope};
pub use level::Level;
pub use mapping::{Mapping, UnmappedLeaf};
pub use policy::LeafPolicy;
pub use statistics::Statistics;
pub use table::NestedPageTable;
pub use visit::VisitedEntry;
