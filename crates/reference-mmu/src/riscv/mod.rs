//! The G-stage of the hypervisor extension: Sv39x4, Sv48x4, Sv57x4.
//!
//! Sources, all in *The RISC-V Instruction Set Manual, Volume II: Privileged Architecture*, version
//! 20240411 and later: chapter "H" Extension for Hypervisor Support, sections "Hypervisor Guest
//! Address Translation and Protection (hgatp) Register" and "Guest Physical Address Translation";
//! chapter Supervisor-Level ISA, sections "Virtual Address Translation Process" (here: VATP),
//! "Sv39", "Sv48", "Sv57"; chapters Svnapot, Svpbmt, Svadu, Svrsw60t59b. A step number is one of
//! VATP.
//!
//! `sstatus.MXR` is taken to be 0: an execute-only page cannot be read.

mod config;
mod fault;
mod pte;
mod walk;

pub use config::{ConfigError, Features, GStage};
pub use fault::{Fault, Why};
pub use pte::Attributes;
