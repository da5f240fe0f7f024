#![doc = include_str!("../README.md")]
#![no_std]
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod convert;
mod error;
mod frames;
mod host;
mod levels;
mod table;

pub use convert::{flags_from_axvm, flags_to_axvm};
pub use frames::AllocatorFrames;
pub use host::StoppedGuests;
pub use levels::{AxvmFormat, LevelsError, ept, g_stage, npt, stage_2};
pub use table::Table;
