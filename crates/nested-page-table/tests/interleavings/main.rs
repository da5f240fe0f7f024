//! Operations of `live/` that take turns at every access to a table word.
//!
//! Each actor is a thread: a CPU that calls operations, a CPU that runs a guest with a TLB, or the hardware that sets
//! accessed and dirty bits. Only one of them runs at a time. Before each access to a table word, and at a few other
//! points, the [scheduler](turns) chooses who goes on. So a run is a function of its schedule, a list of actors.
//!
//! [`explore`] goes through all schedules of a scenario where they are few, through all with a few preemptions where they
//! are many, and through random ones. Each access is [judged](judge) when it happens. After each run the
//! outcomes must be those of *some* order of the operations on a [model](model) of pages, in which an operation that ended
//! before another began comes first.
//!
//! A failure prints its scenario, its variant and its schedule as a call of [`replay`](explore::replay), to be pasted into a
//! test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../conformance/architectures.rs"]
#[expect(dead_code, reason = "the conformance test uses more of it")]
mod architectures;
mod explore;
mod judge;
mod model;
mod operation;
mod order;
#[path = "../conformance/reference.rs"]
#[expect(dead_code, reason = "the conformance test uses more of it")]
mod reference;
mod run;
mod scenarios;
#[path = "../conformance/strict.rs"]
#[expect(dead_code, reason = "the conformance test uses more of it")]
mod strict;
mod turns;
#[path = "../conformance/variant.rs"]
#[expect(dead_code, reason = "the conformance test uses more of it")]
mod variant;
