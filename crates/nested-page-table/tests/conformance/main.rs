//! Random edits of every mode of every architecture, judged after each step.
//!
//! The judges: a plain model of what is mapped; a complete walk by the reference MMU, which shares
//! no code with the table; CPUs whose TLBs keep what the architecture lets them keep; and an
//! allocator that fails at each allocation of each operation once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod architectures;
mod driver;
mod failing;
mod known;
mod model;
mod operation;
mod publishing;
mod reference;
mod strict;
#[expect(dead_code, reason = "the watched test uses more of it")]
mod variant;

use proptest::test_runner::{Config, TestRunner};

use crate::architectures::{AARCH64, EPT, NESTED_EPT, NESTED_NPT, NPT, RISCV};
use crate::operation::Limits;

/// Runs random steps on one mode.
fn conforms(build: impl Fn(u8) -> variant::Variant) {
    let cases = std::env::var("CONFORMANCE_CASES")
        .ok()
        .and_then(|text| text.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(24),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let limits = (0..8).map(|number| Limits::of(&build(number))).collect();
    let strategy = operation::case(limits);
    let outcome = TestRunner::new(config).run(&strategy, |case| {
        driver::run(build(case.variant), &case.steps);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

macro_rules! conforms {
    ($($test:ident: $architecture:ident $mode:literal;)+) => {$(
        #[test]
        fn $test() {
            conforms(|number| ($architecture)($mode, number));
        }
    )+};
}

conforms! {
    sv39x4: RISCV "sv39x4";
    sv48x4: RISCV "sv48x4";
    sv57x4: RISCV "sv57x4";
    ept4: EPT "ept4";
    ept5: EPT "ept5";
    npt4: NPT "npt4";
    npt5: NPT "npt5";
    nested_ept4: NESTED_EPT "ept4";
    nested_npt4: NESTED_NPT "npt4";
    ipa32: AARCH64 "ipa32";
    ipa33: AARCH64 "ipa33";
    ipa34: AARCH64 "ipa34";
    ipa35: AARCH64 "ipa35";
    ipa36: AARCH64 "ipa36";
    ipa37: AARCH64 "ipa37";
    ipa38: AARCH64 "ipa38";
    ipa39: AARCH64 "ipa39";
    ipa40: AARCH64 "ipa40";
    ipa41: AARCH64 "ipa41";
    ipa42: AARCH64 "ipa42";
    ipa43: AARCH64 "ipa43";
    ipa44: AARCH64 "ipa44";
    ipa45: AARCH64 "ipa45";
    ipa46: AARCH64 "ipa46";
    ipa47: AARCH64 "ipa47";
    ipa48: AARCH64 "ipa48";
}
