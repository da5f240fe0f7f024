//! The instructions that invalidation consists of, and their execution.

#![expect(unsafe_code, reason = "executing system instructions has conditions")]

use nested_page_table::Invalidation;

use crate::format::Stage2;
use crate::hardware;

/// One instruction, with the raw value of its operand register where it has one.
///
/// TLB invalidations act on the VMID in `VTTBR_EL2`. The forms that end in `is` reach every CPU of
/// the Inner Shareable domain, the others the executing CPU only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Instruction {
    /// `DSB ISHST`: earlier stores are visible to the walkers of all CPUs.
    DsbIshst,
    /// `DSB NSHST`: earlier stores are visible to this CPU's walker.
    DsbNshst,
    /// `DSB ISH`: earlier invalidations have completed on all CPUs.
    DsbIsh,
    /// `DSB NSH`: earlier local invalidations and walks have completed.
    DsbNsh,
    /// `ISB`: later instructions see earlier writes of system registers.
    Isb,
    /// `MSR VTCR_EL2, Xt`.
    WriteVtcr(u64),
    /// `MSR VTTBR_EL2, Xt`.
    WriteVttbr(u64),
    /// `TLBI IPAS2E1IS, Xt`: stage 2, one address, every level of its walk.
    TlbiIpas2e1is(u64),
    /// `TLBI IPAS2E1, Xt`.
    TlbiIpas2e1(u64),
    /// `TLBI RIPAS2E1IS, Xt`: stage 2, a range of addresses (FEAT_TLBIRANGE).
    TlbiRipas2e1is(u64),
    /// `TLBI RIPAS2E1, Xt` (FEAT_TLBIRANGE).
    TlbiRipas2e1(u64),
    /// `TLBI VMALLE1IS`: stage 1, including entries that combine both stages.
    TlbiVmalle1is,
    /// `TLBI VMALLE1`.
    TlbiVmalle1,
    /// `TLBI VMALLS12E1IS`: both stages.
    TlbiVmalls12e1is,
    /// `TLBI VMALLS12E1`.
    TlbiVmalls12e1,
    /// `TLBI VALE2IS, Xt`: one address of EL2's own translation.
    TlbiVale2is(u64),
}

impl Instruction {
    /// Executes the instruction.
    ///
    /// # Panics
    ///
    /// On a hosted operating system, and on other architectures.
    ///
    /// # Safety
    ///
    /// - The CPU runs at EL2, and `HCR_EL2.TGE` is 0 (a VHE host clears it first: with it set,
    ///   invalidations act on the host's own translations).
    /// - `WriteVtcr`, `WriteVttbr`: no guest is entered, no interrupt taken and no other code uses EL1
    ///   translations until both registers have the values again that belong there, followed by `Isb`.
    /// - `WriteVtcr`, `WriteVttbr`, on a CPU with the speculative address-translation errata (Cortex-A55 1530923,
    ///   A57 1319537, A72 1319367, A76 1165522): EL1 translation is such that nothing is walked,
    ///   meaning `SCTLR_EL1.M`, `TCR_EL1.EPD0` and `EPD1` are set.
    /// - `TlbiRipas2e1is`, `TlbiRipas2e1`: the CPU has FEAT_TLBIRANGE.
    #[inline]
    pub unsafe fn execute(self) {
        // SAFETY: the caller's conditions are this function's.
        unsafe { hardware::execute(self) }
    }
}

impl Stage2 {
    /// Carries out `request` with this CPU: reads `VTCR_EL2` and `VTTBR_EL2` and executes
    /// [`instructions_from`](Self::instructions_from) in order, so that the registers are what they
    /// were afterwards. When it returns, the CPUs of the request's scope have forgotten.
    ///
    /// # Panics
    ///
    /// On a hosted operating system, and on other architectures.
    ///
    /// # Safety
    ///
    /// - The CPU runs at EL2, and `HCR_EL2.TGE` is 0.
    /// - Interrupts are masked (`PSTATE.DAIF`).
    /// - On a CPU with speculative address-translation errata, EL1 translation walks nothing (see
    ///   [`Instruction::execute`]).
    /// - The CPUs have the [capabilities](Self::capabilities) of this format.
    /// - `request.space().root_register` is the `VTTBR_EL2` value of a root that is still allocated.
    pub unsafe fn invalidate(&self, request: &Invalidation) {
        // SAFETY: the caller vouches for EL2.
        let current = unsafe { hardware::stage2_registers() };
        self.for_each_instruction(request, current, |instruction| {
            // SAFETY: the caller vouches for EL2 without TGE, for masked interrupts, for the errata
            // and for FEAT_TLBIRANGE where the format uses it; the sequence ends with the registers
            // as they were and an ISB.
            unsafe { instruction.execute() }
        });
    }
}
