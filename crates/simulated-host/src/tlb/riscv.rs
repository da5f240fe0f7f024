//! The G-stage TLBs of RISC-V harts.

use crate::instruction::TlbInstruction;
use crate::memory::SparseMemory;
use crate::tlb::{Cache, Kept, Rules, Tag, TlbModel, empty_caches};
use crate::violation::Violation;
use crate::walk::{Outcome, Step};

const VALID: u64 = 1;
const READ_WRITE_EXECUTE: u64 = 0b1110;
/// The VMID field of hgatp is 14 bits from bit 44 on (Privileged spec, "Hypervisor Guest Address
/// Translation and Protection Register").
const VMID_SHIFT: u32 = 44;
const VMID_BITS: u32 = 14;

/// Harts that cache everything the specification allows (Privileged spec, "Supervisor
/// Memory-Management Fence Instruction" and "Hypervisor Memory-Management Fence Instructions"):
/// translations, pointers to tables and, without Svvptc, entries that are not valid. All is tagged
/// by the VMID alone.
#[derive(Debug)]
pub struct RiscvTlb {
    harts: Vec<Cache>,
    vmid_mask: u64,
    svvptc: bool,
}

impl RiscvTlb {
    /// `harts` harts that implement `vmid_bits` (VMIDLEN) bits of the VMID, at most 14. With
    /// `svvptc`, an entry that becomes valid is seen without a fence.
    #[must_use]
    pub fn new(harts: usize, vmid_bits: u32, svvptc: bool) -> Self {
        Self {
            harts: empty_caches(harts),
            vmid_mask: (1 << vmid_bits.min(VMID_BITS)) - 1,
            svvptc,
        }
    }

    /// HFENCE.GVMA on one hart.
    ///
    /// With an address it orders the leaf entries for that address only: pointers to tables stay
    /// cached, and so does what was cached of an entry that has become a pointer. Without one it
    /// orders everything, of one VMID or of all.
    pub fn hfence_gvma(
        &mut self,
        hart: usize,
        rs1: Option<u64>,
        rs2: Option<u64>,
        memory: &SparseMemory,
    ) {
        let Some(cache) = self.harts.get_mut(hart) else {
            return;
        };
        let tag = rs2.map(|vmid| vmid & self.vmid_mask);
        match rs1 {
            None => cache.forget(tag, |_, kept| *kept = Kept::default()),
            Some(address) => cache.forget_in(tag, address << 2, address << 2, |walk, kept| {
                kept.result &= walk
                    .steps()
                    .last()
                    .is_some_and(|step| is_pointer_now(memory, step));
            }),
        }
    }
}

/// Whether memory holds a pointer to a table now, where `step` was read.
fn is_pointer_now(memory: &SparseMemory, step: &Step) -> bool {
    let value = memory.read(step.address);
    value.is_some_and(|value| value & (VALID | READ_WRITE_EXECUTE) == VALID && step.level > 0)
}

impl TlbModel for RiscvTlb {
    fn rules(&self) -> Rules {
        Rules {
            broadcast: false,
            break_before_make: false,
            fault_drops_translation: false,
        }
    }

    fn tag(&self, root_register: u64) -> Tag {
        root_register >> VMID_SHIFT & self.vmid_mask
    }

    fn keeps(&self, outcome: &Outcome) -> Kept {
        Kept {
            result: matches!(outcome, Outcome::Translation(_)) || !self.svvptc,
            combined: false,
            tables: true,
        }
    }

    fn caches(&self) -> &[Cache] {
        &self.harts
    }

    fn caches_mut(&mut self) -> &mut [Cache] {
        &mut self.harts
    }

    fn execute(
        &mut self,
        cpu: usize,
        instruction: &TlbInstruction,
        memory: &SparseMemory,
        report: &mut dyn FnMut(Violation),
    ) {
        let instruction = *instruction;
        let TlbInstruction::HfenceGvma { rs1, rs2 } = instruction else {
            return report(Violation::UnknownInstruction { cpu, instruction });
        };
        // The bits above VMIDMAX are reserved, and a guest-physical address has 59 bits at most.
        let reserved = rs2.is_some_and(|vmid| vmid >> VMID_BITS != 0)
            || rs1.is_some_and(|address| address >> 57 != 0);
        if reserved {
            report(Violation::ReservedOperand { cpu, instruction });
        }
        self.hfence_gvma(cpu, rs1, rs2, memory);
    }
}
