#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("region-planner supports 64-bit targets only: a u32 index must fit a usize");

extern crate alloc;

mod alias;
mod builder;
mod class;
mod conflicts;
mod crossing;
mod error;
mod leaves;
mod mapping;
mod owned;
mod pages;
mod pairs;
mod plan;
mod reach;
mod region;
mod table_count;
mod warning;

pub use error::{OverlapReason, PlanError};
pub use leaves::{Extent, LeafCounts};
pub use mapping::Mapping;
pub use plan::{Plan, plan};
pub use region::{Origin, Region, RegionKind};
pub use table_count::table_frames;
pub use warning::Warning;
