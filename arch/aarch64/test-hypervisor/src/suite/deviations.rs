//! Where QEMU is known not to do what the manual says.

use test_hypervisor_kit::Deviation;

pub(super) static DEVIATIONS: [Deviation; 0] = [];
