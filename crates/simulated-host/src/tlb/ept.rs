//! The caches of EPT translations of Intel CPUs.

use crate::instruction::TlbInstruction;
use crate::memory::SparseMemory;
use crate::tlb::{Cache, Kept, Rules, Tag, TlbModel, empty_caches};
use crate::violation::Violation;
use crate::walk::Outcome;

/// The address of the root is bits 51:12 of the EPTP, which are the tag EP4TA (SDM 3C, "Information
/// That May Be Cached").
const ROOT: u64 = 0xf_ffff_ffff_f000;

/// CPUs that cache guest-physical and combined mappings, tagged by the root's address. Entries that
/// are not present or misconfigured are never cached; an EPT violation drops the mappings that its
/// address would use (SDM 3C, "Operations that Invalidate Cached Mappings").
#[derive(Debug)]
pub struct EptTlb {
    cpus: Vec<Cache>,
}

impl EptTlb {
    /// `cpus` CPUs.
    #[must_use]
    pub fn new(cpus: usize) -> Self {
        Self {
            cpus: empty_caches(cpus),
        }
    }

    /// INVEPT on one CPU. False, and nothing is forgotten, if the instruction fails: an unknown type,
    /// a descriptor whose reserved word is not 0, or one whose EPTP no VM entry would accept.
    pub fn invept(&mut self, cpu: usize, kind: u64, descriptor: [u64; 2]) -> bool {
        let [eptp, reserved] = descriptor;
        let tag = match kind {
            1 if is_acceptable(eptp) => Some(eptp & ROOT),
            2 => None,
            _ => return false,
        };
        if reserved != 0 {
            return false;
        }
        if let Some(cache) = self.cpus.get_mut(cpu) {
            cache.forget(tag, |_, kept| *kept = Kept::default());
        }
        true
    }

    /// INVVPID on one CPU: combined mappings go, guest-physical mappings stay.
    pub fn invvpid(&mut self, cpu: usize) {
        if let Some(cache) = self.cpus.get_mut(cpu) {
            cache.forget(None, |_, kept| kept.combined = false);
        }
    }
}

/// Whether VM entry accepts the EPTP: memory type UC or WB, a walk of 4 or 5 levels, no reserved
/// bit (SDM 3C, "Extended-Page-Table Pointer (EPTP)"; bit 7 is for supervisor shadow stacks).
fn is_acceptable(eptp: u64) -> bool {
    matches!(eptp & 7, 0 | 6) && matches!(eptp >> 3 & 7, 3 | 4) && eptp & !ROOT & !0xff == 0
}

impl TlbModel for EptTlb {
    fn rules(&self) -> Rules {
        Rules {
            broadcast: false,
            break_before_make: false,
            fault_drops_translation: true,
        }
    }

    fn tag(&self, root_register: u64) -> Tag {
        root_register & ROOT
    }

    fn keeps(&self, outcome: &Outcome) -> Kept {
        let present = matches!(outcome, Outcome::Translation(_));
        Kept {
            result: present,
            combined: present,
            tables: true,
        }
    }

    fn caches(&self) -> &[Cache] {
        &self.cpus
    }

    fn caches_mut(&mut self) -> &mut [Cache] {
        &mut self.cpus
    }

    fn execute(
        &mut self,
        cpu: usize,
        instruction: &TlbInstruction,
        _memory: &SparseMemory,
        report: &mut dyn FnMut(Violation),
    ) {
        let instruction = *instruction;
        match instruction {
            TlbInstruction::Invept { kind, descriptor } => {
                if !self.invept(cpu, kind, descriptor) {
                    report(Violation::ReservedOperand { cpu, instruction });
                }
            }
            TlbInstruction::Invvpid => self.invvpid(cpu),
            _ => report(Violation::UnknownInstruction { cpu, instruction }),
        }
    }
}
