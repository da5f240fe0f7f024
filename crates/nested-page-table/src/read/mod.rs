//! Reading a table in order: entries, leaves, counts.
//!
//! Nothing is changed and nothing is kept between calls.
//!
//! May name: `settle`, `tree`, `contract`.

pub(crate) mod statistics;
pub(crate) mod visit;
