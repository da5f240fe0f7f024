//! Invalidation instructions with their raw operands.

/// One instruction that software executes to make CPUs forget, with the operands as the hardware
/// gets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlbInstruction {
    /// RISC-V HFENCE.GVMA. `None` is the register specifier x0, which is not the value 0.
    HfenceGvma {
        /// A guest-physical address, shifted right by 2.
        rs1: Option<u64>,
        /// A VMID.
        rs2: Option<u64>,
    },
    /// AArch64 TLBI. `xt` is ignored by the operations that take no register.
    Tlbi {
        /// The operation.
        operation: Tlbi,
        /// The register operand.
        xt: u64,
    },
    /// AArch64 DSB.
    Dsb(Dsb),
    /// AArch64 ISB.
    Isb,
    /// AArch64 MSR VTCR_EL2.
    WriteVtcr(u64),
    /// AArch64 MSR VTTBR_EL2.
    WriteVttbr(u64),
    /// AArch64 MSR VTTBR_EL2 with the value that it had when the sequence began.
    RestoreVttbr,
    /// Intel INVEPT.
    Invept {
        /// The type: 1 is single-context, 2 is all-context.
        kind: u64,
        /// The descriptor: the EPTP, and a word that is reserved.
        descriptor: [u64; 2],
    },
    /// Intel INVVPID. It spares guest-physical mappings, whatever its operands.
    Invvpid,
    /// AMD VMRUN, after an exit if a guest runs on this CPU.
    Vmrun {
        /// The VMCB's ASID.
        asid: u32,
        /// The VMCB's TLB_CONTROL: 0 does nothing, 1 flushes everything, 3 this ASID, 7 what is not global of it.
        tlb_control: u8,
    },
    /// AMD INVLPGA: one page of the address space that the guest's own tables make.
    Invlpga {
        /// A guest-virtual address.
        address: u64,
        /// An ASID.
        asid: u32,
    },
}

/// The TLBI operations that concern stage 2 at EL1&0 (Arm DDI 0487, "TLB maintenance
/// instructions"), and one of EL2's own translation, by which software repeats a broadcast. The ones in `Is`
/// reach the Inner Shareable domain: every CPU here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the manual's mnemonics")]
pub enum Tlbi {
    Ipas2E1,
    Ipas2E1Is,
    Ipas2Le1,
    Ipas2Le1Is,
    Ripas2E1,
    Ripas2E1Is,
    Ripas2Le1,
    Ripas2Le1Is,
    VmallE1,
    VmallE1Is,
    VmallS12E1,
    VmallS12E1Is,
    AllE1,
    AllE1Is,
    ValE2Is,
}

/// The barriers that order or complete TLB maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the manual's mnemonics")]
pub enum Dsb {
    Ish,
    IshSt,
    Nsh,
    NshSt,
    Sy,
    SySt,
}
