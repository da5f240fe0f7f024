//! The machine against hand-written tables: each mistake is noticed, and nothing else is.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;
mod ept;
mod frames;
mod host;
mod npt;
mod property;
mod riscv;
mod stage2;
mod staleness;
