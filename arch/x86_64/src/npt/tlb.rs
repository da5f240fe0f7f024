//! What makes a CPU forget translations. (APM vol. 2, 15.16 "TLB Control")
#![expect(unsafe_code, reason = "executing instructions of SVM has conditions")]

use nested_page_table::{Change, Invalidation};

use crate::hardware;
use crate::npt::format::Npt;

/// A value of the VMCB's field TLB_CONTROL (offset 05Ch, one byte): what the next VMRUN with that VMCB flushes on its
/// CPU before the guest runs. (APM vol. 2, 15.16.1, table "TLB Control Byte Encodings")
///
/// 07h, "flush this guest's non-global TLB entries", is missing: what the guest calls global depends on the nested
/// tables like all else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TlbControl {
    /// 00h: nothing is flushed.
    #[default]
    Nothing,
    /// 03h: everything that is tagged with the VMCB's ASID.
    Guest,
    /// 01h: everything, whatever its ASID: the host's too.
    All,
}

impl TlbControl {
    /// The byte.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::All => 1,
            Self::Guest => 3,
        }
    }

    /// What does both.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Guest, _) | (_, Self::Guest) => Self::Guest,
            (Self::Nothing, Self::Nothing) => Self::Nothing,
        }
    }
}

impl Npt {
    /// What has to be flushed to carry out `request`, on each CPU of the request's scope, before it enters the guest
    /// again. See the [module](crate::npt#invalidation) for the protocol around it.
    ///
    /// The flush knows no addresses: the whole ASID goes, or all of them if the processor cannot flush one. The ASID
    /// is that of the VMCB; the request's VMID is not looked at. A request for nothing but [`Change::Fresh`] needs
    /// no flush.
    #[inline]
    #[must_use]
    pub fn tlb_control(&self, request: &Invalidation) -> TlbControl {
        let mut changes = request.ranges().iter().map(|changed| changed.change);
        let is_needed =
            request.covers_everything() || changes.any(|change| change != Change::Fresh);
        match (is_needed, self.capabilities().flush_by_asid()) {
            (false, _) => TlbControl::Nothing,
            (true, true) => TlbControl::Guest,
            (true, false) => TlbControl::All,
        }
    }
}

/// INVLPGA: this CPU forgets the translation of one guest-**linear** page under one ASID. (APM vol. 2, 15.16.3; vol.
/// 3, "INVLPGA")
///
/// It carries out no [`Invalidation`]: that names guest-physical addresses, to which any linear address may lead. Use
/// it if you know the linear address, such as for a guest's INVLPG that you intercepted, or for a spurious fault of a
/// guest whose paging is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Invlpga {
    /// RAX: an address in the page.
    pub linear_address: u64,
    /// ECX: the ASID.
    pub asid: u32,
}

impl Invlpga {
    /// Executes the instruction on this CPU.
    ///
    /// # Panics
    ///
    /// On a hosted operating system, and on other architectures.
    ///
    /// # Safety
    ///
    /// - The CPU is at privilege level 0, and EFER.SVME is 1.
    #[inline]
    pub unsafe fn execute(self) {
        // SAFETY: the caller keeps the same condition.
        unsafe { hardware::invlpga(self.linear_address, self.asid) }
    }
}
