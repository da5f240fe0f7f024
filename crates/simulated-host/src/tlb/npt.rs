//! The caches of nested translations of AMD CPUs.

use std::fmt;

use crate::instruction::TlbInstruction;
use crate::memory::SparseMemory;
use crate::tlb::{Cache, Kept, Rules, Tag, TlbModel, empty_caches};
use crate::violation::Violation;
use crate::walk::Outcome;

/// Which ASID the VMCB has whose N_CR3 is this.
type AsidOf = dyn Fn(u64) -> u32 + Send;

/// CPUs that cache translations of guest-physical addresses, entries that point to nested tables, and translations
/// that combine both stages, all tagged by the ASID alone (AMD64 APM vol. 2, 15.16 "TLB Control", 15.25 "Nested
/// Paging"). Entries with P = 0 are not cached. A nested page fault drops the translation that caused
/// it (5.5.3 "TLB Management").
///
/// The models hear of the VMCB's N_CR3 only: a function tells the ASID that stands beside it.
pub struct NptTlb {
    cpus: Vec<Cache>,
    asid_of: Box<AsidOf>,
}

impl NptTlb {
    /// `cpus` CPUs, which enter the guest of an N_CR3 with the ASID that `asid_of` has for it.
    #[must_use]
    pub fn new(cpus: usize, asid_of: impl Fn(u64) -> u32 + Send + 'static) -> Self {
        Self {
            cpus: empty_caches(cpus),
            asid_of: Box::new(asid_of),
        }
    }

    /// One CPU leaves its guest and executes VMRUN with `asid` and TLB_CONTROL `control`. False, and nothing
    /// is forgotten, if VMRUN fails: ASID 0 is the host's, and other values than 0, 1, 3 and 7 are reserved.
    ///
    /// With 7, which flushes what is not global, translations stay that a global page of the guest's own tables is
    /// part of.
    pub fn vmrun(&mut self, cpu: usize, asid: u32, control: u8) -> bool {
        if asid == 0 || !matches!(control, 0 | 1 | 3 | 7) {
            return false;
        }
        let Some(cache) = self.cpus.get_mut(cpu) else {
            return true;
        };
        let tag = Some(u64::from(asid));
        match control {
            1 => cache.forget(None, |_, kept| *kept = Kept::default()),
            3 => cache.forget(tag, |_, kept| *kept = Kept::default()),
            7 => cache.forget(tag, |_, kept| {
                *kept = Kept {
                    combined: kept.combined,
                    ..Kept::default()
                };
            }),
            _ => {}
        }
        true
    }
}

impl TlbModel for NptTlb {
    fn rules(&self) -> Rules {
        Rules {
            broadcast: false,
            break_before_make: false,
            fault_drops_translation: true,
        }
    }

    fn tag(&self, root_register: u64) -> Tag {
        u64::from((self.asid_of)(root_register))
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
            TlbInstruction::Vmrun { asid, tlb_control } => {
                if !self.vmrun(cpu, asid, tlb_control) {
                    report(Violation::ReservedOperand { cpu, instruction });
                }
            }
            // It names a page of the guest's own address space. Which guest-physical pages are behind it, only the
            // guest's tables say: nothing is certain to be forgotten.
            TlbInstruction::Invlpga { .. } => {}
            _ => report(Violation::UnknownInstruction { cpu, instruction }),
        }
    }
}

impl fmt::Debug for NptTlb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NptTlb")
            .field("cpus", &self.cpus)
            .finish_non_exhaustive()
    }
}
