//! AArch64: the registers of stage 2, a descriptor, and the syndrome of an abort.
//!
//! Source: *Arm Architecture Reference Manual for A-profile architecture*, DDI 0487 (issue J.a and later),
//! by register and table.

mod registers;
mod syndrome;

pub(super) use registers::{entry, vtcr, vttbr};
pub(super) use syndrome::{esr, far, fault, hpfar};
