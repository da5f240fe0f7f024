//! What backends provide, what hosts provide, and the values that users and hosts see.
//!
//! | file | what it holds |
//! |---|---|
//! | `format`, `entry`, `note`, `geometry`, `level` | what a backend provides: entries and notes as bits, numbers per level |
//! | `host`, `frames` | what a host provides: invalidation, frames |
//! | `invalidation` | what is asked of the host |
//! | `mapping`, `policy`, `error` | what users see |
//!
//! May name: nothing of this crate.

pub(crate) mod entry;
pub(crate) mod error;
pub(crate) mod format;
pub(crate) mod frames;
pub(crate) mod geometry;
pub(crate) mod host;
pub(crate) mod invalidation;
pub(crate) mod level;
pub(crate) mod mapping;
pub(crate) mod note;
pub(crate) mod policy;
