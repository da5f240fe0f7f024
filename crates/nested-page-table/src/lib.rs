#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("nested-page-table supports 64-bit targets only: table entries are 64-bit words");

mod change;
mod contract;
mod live;
mod read;
mod settle;
mod table;
mod tree;

pub use change::edit::Edit;
pub use contract::entry::{Entry, Leaf};
pub use contract::error::{
    MapError, NewTableError, ProtectError, SetVmidError, UnmapError, Unsettled,
};
pub use contract::format::{Format, UpdateRules};
pub use contract::frames::HostFrames;
pub use contract::geometry::{Geometry, GeometryError};
pub use contract::host::TableHost;
pub use contract::invalidation::{
    AddressSpaceId, Change, InvalidatedRange, Invalidation, InvalidationFailed, Scope,
};
pub use contract::level::Level;
pub use contract::live_error::{FillError, RaiseError, SplitError};
pub use contract::mapping::{Mapping, UnmappedLeaf};
pub use contract::note::Note;
pub use contract::outcome::{Due, FillOutcome, MarkOutcome, RaiseOutcome, SplitOutcome};
pub use contract::policy::LeafPolicy;
pub use read::statistics::Statistics;
pub use read::visit::VisitedEntry;
pub use table::NestedPageTable;
#[cfg(feature = "watch")]
pub use tree::watch;
