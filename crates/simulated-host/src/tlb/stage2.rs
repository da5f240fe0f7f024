//! The stage 2 TLBs of AArch64 CPUs.

mod operation;

use operation::{Operation, Target};

use crate::instruction::{Dsb, TlbInstruction, Tlbi};
use crate::memory::SparseMemory;
use crate::tlb::{Cache, Kept, Rules, Tag, TlbModel, empty_caches};
use crate::violation::Violation;
use crate::walk::Outcome;

const VMID_SHIFT: u32 = 48;

/// CPUs that cache everything the architecture allows (Arm DDI 0487, chapter D8, "TLB maintenance"):
/// stage 2 translations, table entries, and results of both stages combined, which TLBI by IPA does
/// not remove. All is tagged by the VMID alone. Entries that are invalid or fault are never cached.
///
/// A TLBI takes effect at the DSB that completes it, and not before: all that are open then take
/// effect in the worst order, so that TLBI VMALLE1 removes only combined results that no stage 2
/// translation can bring back.
#[derive(Debug)]
pub struct Stage2Tlb {
    cpus: Vec<Cache>,
    states: Vec<CpuState>,
    vmid_mask: u64,
    /// What VTCR_EL2 has to be where an invalidation is issued, if that is checked.
    vtcr: Option<u64>,
    completes_late: bool,
}

/// What selects a table.
#[derive(Clone, Copy, Debug, Default)]
struct Registers {
    vtcr: u64,
    vttbr: u64,
}

/// What a CPU knows apart from translations.
#[derive(Clone, Debug, Default)]
struct CpuState {
    /// The registers as the TLBI operations see them.
    registers: Registers,
    /// Values that were written, and count from the next ISB on.
    written: Option<Registers>,
    /// The registers when the sequence began.
    before: Registers,
    /// Stores to tables that walkers of this CPU, or of all of them, may not see yet.
    unordered_locally: bool,
    unordered: bool,
    /// Operations without the DSB that completes them.
    open: Vec<Operation>,
    /// Broadcasts whose DSB did not wait for accesses.
    late: Vec<Operation>,
}

impl CpuState {
    fn newest(&self) -> Registers {
        self.written.unwrap_or(self.registers)
    }
}

impl Stage2Tlb {
    /// `cpus` CPUs with VMIDs of `vmid_bits` bits, 8 or 16.
    #[must_use]
    pub fn new(cpus: usize, vmid_bits: u32) -> Self {
        let cpus = empty_caches(cpus);
        Self {
            states: vec![CpuState::default(); cpus.len()],
            cpus,
            vmid_mask: (1 << vmid_bits.min(16)) - 1,
            vtcr: None,
            completes_late: false,
        }
    }

    /// CPUs with the errata of a DSB that does not wait for accesses which an invalidated translation
    /// served (Cortex-A76 1286807 and its kin): what a broadcast removes is in use until another broadcast
    /// is complete.
    #[must_use]
    pub fn with_late_completion(self) -> Self {
        let completes_late = true;
        Self {
            completes_late,
            ..self
        }
    }

    /// Requires VTCR_EL2 to have this value where an invalidation is issued: that of the machine
    /// whose translations are invalidated.
    #[must_use]
    pub fn with_vtcr(self, vtcr: u64) -> Self {
        let vtcr = Some(vtcr);
        Self { vtcr, ..self }
    }

    /// TLBI on one CPU: takes effect at the DSB that follows.
    pub fn tlbi(
        &mut self,
        cpu: usize,
        operation: Tlbi,
        xt: u64,
        report: &mut dyn FnMut(Violation),
    ) {
        let instruction = TlbInstruction::Tlbi { operation, xt };
        let Some(state) = self.states.get_mut(cpu) else {
            return;
        };
        let Registers { vtcr, vttbr } = state.registers;
        let vmid = vttbr >> VMID_SHIFT & self.vmid_mask;
        let Some(decoded) = Operation::decode(operation, xt, vmid) else {
            return report(Violation::ReservedOperand { cpu, instruction });
        };
        if state.written.is_some() {
            report(Violation::VttbrNotSynchronised { cpu, instruction });
        }
        if self.vtcr.is_some_and(|expected| expected != vtcr) {
            report(Violation::WrongVtcr { cpu, vtcr });
        }
        let unordered = match decoded.shareable {
            true => state.unordered,
            false => state.unordered_locally,
        };
        if unordered {
            report(Violation::StoresNotOrdered { cpu, instruction });
        }
        state.open.push(decoded);
    }

    /// DSB on one CPU.
    pub fn dsb(&mut self, cpu: usize, kind: Dsb) {
        let Some(state) = self.states.get_mut(cpu) else {
            return;
        };
        let everywhere = !matches!(kind, Dsb::Nsh | Dsb::NshSt);
        state.unordered_locally = false;
        state.unordered &= !everywhere;
        // TLB maintenance is completed by a DSB for loads and stores, in its shareability domain.
        if matches!(kind, Dsb::IshSt | Dsb::NshSt | Dsb::SySt) {
            return;
        }
        let (done, open): (Vec<_>, Vec<_>) = core::mem::take(&mut state.open)
            .into_iter()
            .partition(|operation| everywhere || !operation.shareable);
        state.open = open;
        let is_broadcast = |operation: &Operation| operation.shareable;
        if !self.completes_late || !done.iter().any(is_broadcast) {
            return self.complete(cpu, &done);
        }
        let (late, mut done): (Vec<_>, Vec<_>) = done.into_iter().partition(is_broadcast);
        done.append(&mut state.late);
        state.late = late;
        self.complete(cpu, &done);
    }

    /// ISB on one CPU: writes of VTCR_EL2 and VTTBR_EL2 count from now on.
    pub fn isb(&mut self, cpu: usize) {
        if let Some(state) = self.states.get_mut(cpu) {
            state.registers = state.newest();
            state.written = None;
        }
    }

    /// MSR VTCR_EL2 on one CPU.
    pub fn write_vtcr(&mut self, cpu: usize, vtcr: u64) {
        if let Some(state) = self.states.get_mut(cpu) {
            state.written = Some(Registers {
                vtcr,
                ..state.newest()
            });
        }
    }

    /// MSR VTTBR_EL2 on one CPU.
    pub fn write_vttbr(&mut self, cpu: usize, vttbr: u64) {
        if let Some(state) = self.states.get_mut(cpu) {
            state.written = Some(Registers {
                vttbr,
                ..state.newest()
            });
        }
    }

    fn complete(&mut self, cpu: usize, operations: &[Operation]) {
        let combined_only = |operation: &&Operation| operation.target == Target::Combined;
        let (first, rest): (Vec<&Operation>, Vec<&Operation>) =
            operations.iter().partition(combined_only);
        for operation in first.into_iter().chain(rest) {
            for (number, cache) in self.cpus.iter_mut().enumerate() {
                if operation.shareable || number == cpu {
                    operation.apply(cache);
                }
            }
        }
    }
}

impl TlbModel for Stage2Tlb {
    fn rules(&self) -> Rules {
        Rules {
            broadcast: true,
            break_before_make: true,
            fault_drops_translation: false,
        }
    }

    fn tag(&self, root_register: u64) -> Tag {
        root_register >> VMID_SHIFT & self.vmid_mask
    }

    fn keeps(&self, outcome: &Outcome) -> Kept {
        let valid = matches!(outcome, Outcome::Translation(_));
        Kept {
            result: valid,
            combined: valid,
            tables: true,
        }
    }

    fn caches(&self) -> &[Cache] {
        &self.cpus
    }

    fn caches_mut(&mut self) -> &mut [Cache] {
        &mut self.cpus
    }

    fn begin(&mut self, cpu: usize) {
        if let Some(state) = self.states.get_mut(cpu) {
            state.unordered = true;
            state.unordered_locally = true;
            state.before = state.newest();
        }
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
            TlbInstruction::Tlbi { operation, xt } => self.tlbi(cpu, operation, xt, report),
            TlbInstruction::Dsb(kind) => self.dsb(cpu, kind),
            TlbInstruction::Isb => self.isb(cpu),
            TlbInstruction::WriteVtcr(value) => self.write_vtcr(cpu, value),
            TlbInstruction::WriteVttbr(value) => self.write_vttbr(cpu, value),
            TlbInstruction::RestoreVttbr => {
                let before = self.states.get(cpu).map_or(0, |state| state.before.vttbr);
                self.write_vttbr(cpu, before);
            }
            _ => report(Violation::UnknownInstruction { cpu, instruction }),
        }
    }

    fn end(&mut self, cpu: usize, report: &mut dyn FnMut(Violation)) {
        let Some(state) = self.states.get_mut(cpu) else {
            return;
        };
        if !state.open.is_empty() {
            let open = state.open.len();
            report(Violation::NotCompleted { cpu, open });
        }
        let (before, after) = (state.before.vttbr, state.newest().vttbr);
        if before != after {
            report(Violation::VttbrNotRestored { cpu, before, after });
        }
        let (before, after) = (state.before.vtcr, state.newest().vtcr);
        if before != after {
            report(Violation::VtcrNotRestored { cpu, before, after });
        }
    }
}
