//! What the calling CPU says of itself.
#![expect(unsafe_code, reason = "only EL2 may read the registers")]

use crate::capabilities::Capabilities;
use crate::hardware;

impl Capabilities {
    /// What the calling CPU says of itself: [`from_id_registers`](Self::from_id_registers) of its
    /// registers. Set `HCR_EL2.FWB` first if guests will run with it.
    ///
    /// # Panics
    ///
    /// On a hosted operating system, and on other architectures.
    ///
    /// # Safety
    ///
    /// - The CPU runs at EL2.
    #[must_use]
    pub unsafe fn detect() -> Self {
        // SAFETY: the caller vouches for EL2.
        let registers = unsafe { hardware::id_registers() };
        Self::from_id_registers(&registers)
    }
}
