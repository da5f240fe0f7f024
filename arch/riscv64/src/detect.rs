//! What the hart tells about itself.
#![expect(unsafe_code, reason = "only HS-mode may access hgatp")]

use crate::capabilities::Capabilities;
use crate::hardware;
use crate::hgatp::{MODE_SHIFT, VMID_SHIFT};
use crate::instructions::Instruction;
use crate::mode::Mode;

/// VMID, all ones.
const VMID_ONES: u64 = 0x3fff << VMID_SHIFT;

impl Capabilities {
    /// What this hart shows of itself: the largest mode and the width of a VMID.
    ///
    /// hgatp is written, read back and restored, and the G-stage fenced: fields that cannot hold what
    /// was written read back differently. (Privileged Architecture 20250508, "Hypervisor Guest
    /// Address Translation and Protection (hgatp) Register".) Svpbmt, Svvptc and Svadu cannot be seen
    /// from HS-mode; the builder sets them.
    ///
    /// # Panics
    ///
    /// On a hosted operating system, and on other architectures.
    ///
    /// # Safety
    ///
    /// - The hart has the hypervisor extension, is in HS-mode and mstatus.TVM is 0, or it is in
    ///   M-mode.
    /// - Nothing uses hgatp on this hart meanwhile: no interrupt handler that enters a guest or
    ///   accesses its memory.
    #[must_use]
    pub unsafe fn detect() -> Self {
        // SAFETY: by the caller's conditions hgatp can be read.
        let old = unsafe { hardware::read_hgatp() };
        let holds = |mode: Mode| {
            let value = mode.hgatp_mode() << MODE_SHIFT;
            // SAFETY: by the caller's conditions nobody uses hgatp.
            (unsafe { hardware::exchange_hgatp(value) }) >> MODE_SHIFT == mode.hgatp_mode()
        };
        let modes = Mode::AUTO.iter().copied();
        let largest = modes
            .rev()
            .find(|&mode| holds(mode))
            .unwrap_or(Mode::Sv39x4);
        let ones = largest.hgatp_mode() << MODE_SHIFT | VMID_ONES;
        // SAFETY: as above.
        let vmid = unsafe { hardware::exchange_hgatp(ones) } & VMID_ONES;
        // SAFETY: as above.
        unsafe { hardware::exchange_hgatp(old) };
        let all = Instruction::HfenceGvma {
            rs1: None,
            rs2: None,
        };
        // SAFETY: the caller's first condition is this one's.
        unsafe { all.execute() };
        Self::new()
            .with_largest_mode(largest)
            .with_vmid_bits(vmid.count_ones())
    }
}
