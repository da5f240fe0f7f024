//! Changes through a shared reference: what each outcome means, on every architecture, and on many threads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../conformance/architectures.rs"]
mod architectures;
mod fill;
mod raise;
#[path = "../conformance/reference.rs"]
#[expect(dead_code, reason = "the conformance test uses more of it")]
mod reference;
mod split;
#[path = "../conformance/strict.rs"]
#[expect(dead_code, reason = "the conformance test uses more of it")]
mod strict;
#[path = "../conformance/variant.rs"]
#[expect(dead_code, reason = "the conformance test uses more of it")]
mod variant;
mod world;
