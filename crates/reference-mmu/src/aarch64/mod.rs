//! VMSAv8-64 stage 2 with the 4 KiB granule, in Non-secure state.
//!
//! Sources, all in the *Arm Architecture Reference Manual for A-profile architecture*, DDI 0487
//! (issue J.a and later): chapter D8 "The AArch64 Virtual Memory System Architecture", the register
//! descriptions VTCR_EL2 and VTTBR_EL2, and the shared pseudocode (part J1) by function name, above
//! all `AArch64.S2Translate` and `AArch64.S2Walk`.
//!
//! Not modelled, so that the bits which belong to them count as RES0: FEAT_LPA2, FEAT_TTST, FEAT_D128,
//! FEAT_S2PIE, FEAT_S2POE, FEAT_HAFT, FEAT_HPDS2 (PBHA), FEAT_XS, FEAT_BBM (nT), FEAT_MTE_PERM, FEAT_THE
//! and the Secure and Realm states. What hardware merely tolerates is reported too: see [`Strict`].

mod config;
mod descriptor;
mod fault;
mod walk;

pub use config::{ConfigError, Features, Stage2};
pub use descriptor::Attributes;
pub use fault::{Fault, Strict, Why};
