#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

#[cfg(feature = "arceos")]
mod arceos;
mod error;
mod flags;
mod memory_type;

pub use error::FlagsError;
pub use flags::MappingFlags;
pub use memory_type::MemoryType;
