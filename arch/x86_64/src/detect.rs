//! What the processor tells about itself.
#![expect(
    unsafe_code,
    reason = "only privilege level 0 may read model-specific registers"
)]

use crate::capabilities::Capabilities;
use crate::hardware;

impl Capabilities {
    /// What this CPU says of itself: modes, leaves, execute-only memory, INVEPT, the width of a
    /// physical address, and whether guests may execute from large leaves. What is a choice of the
    /// hypervisor stays off: tracking, for which IA32_VMX_EPT_VPID_CAP bit 21 has to be set, and
    /// mode-based execute control, for which IA32_VMX_PROCBASED_CTLS2 bit 54 has to.
    ///
    /// # Panics
    ///
    /// On a hosted operating system, and on other architectures.
    ///
    /// # Safety
    ///
    /// - The CPU is at privilege level 0.
    /// - It has EPT (IA32_VMX_PROCBASED_CTLS2 bit 33), without which reading the capabilities traps.
    #[must_use]
    // See `hardware`.
    #[inline(always)]
    pub unsafe fn detect() -> Self {
        // SAFETY: the conditions are the caller's.
        let registers = unsafe { hardware::registers() };
        Self::from_registers(&registers)
    }
}
