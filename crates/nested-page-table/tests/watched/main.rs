//! Every access to a table word, judged before it happens, with the hardware's turn in between.
//!
//! An operation is run on one table to see what it leads to, and how many accesses it takes. Then it is run
//! again: at each access, what a page walker would find is compared with what was mapped before and what is
//! mapped afterwards, and the order of the stores is judged. Then it is run once for each access and page, where
//! the hardware sets accessed and dirty bits just before that access.
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
mod judge;
mod operations;
#[path = "../conformance/reference.rs"]
#[expect(dead_code, reason = "the conformance test uses more of it")]
mod reference;
#[path = "../conformance/strict.rs"]
#[expect(dead_code, reason = "the conformance test uses more of it")]
mod strict;
mod turn;
#[path = "../conformance/variant.rs"]
#[expect(dead_code, reason = "the conformance test uses more of it")]
mod variant;
mod world;
