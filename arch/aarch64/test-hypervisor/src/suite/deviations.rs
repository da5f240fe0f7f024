//! Where QEMU is known not to do what the manual says.
//!
//! QEMU 7.2 answers every question of the suite as the manual does. What it is known to let pass, such as
//! blocks at addresses that are no multiples of their size, no table of ours contains.

use test_hypervisor_kit::Deviation;

pub(super) static DEVIATIONS: [Deviation; 0] = [];
