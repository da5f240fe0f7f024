//! Stage-2 descriptors: the laws of `Format`, golden values, changes, and a reference walk.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod attributes;
mod changes;
mod common;
mod laws;
mod reference_walk;
