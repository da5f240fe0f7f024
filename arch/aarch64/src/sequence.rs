//! Which instructions carry out an invalidation.

use nested_page_table::{InvalidatedRange, Invalidation, Scope};

use crate::format::Stage2;
use crate::instructions::Instruction;
use crate::operands::{Operand, Operands};

/// How far an invalidation reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// No translation has to be forgotten.
    Nothing,
    /// Those at the addresses of the request's ranges.
    Addresses,
    /// Those of the address space.
    Everything,
}

/// The most instructions of one sequence: barriers, a switch there and back, and the operations.
const MAX_INSTRUCTIONS: usize = Stage2::MAX_ADDRESS_OPERATIONS + 10;

impl Stage2 {
    /// The most address-wise operations that one request costs. What would take more invalidates the
    /// whole VMID instead, with one operation.
    pub const MAX_ADDRESS_OPERATIONS: usize = 64;

    /// The instructions that carry out `request` on a CPU whose `VTTBR_EL2` selects the address
    /// space already; nothing is executed. TLB invalidation acts on the VMID in that register: see
    /// [`instructions_from`](Self::instructions_from) for CPUs where it selects another.
    ///
    /// One CPU executes the sequence, whatever the scope: the forms for [`Scope::AllCpus`] are
    /// broadcast to the Inner Shareable domain.
    ///
    /// - Leaves of one known level: one operation for each leaf, or range operations with
    ///   FEAT_TLBIRANGE; with FEAT_TTL the level is given.
    /// - Leaves of unknown level: the same for each 4 KiB page, without a level.
    /// - Tables: range operations over all that the tables translated, without a level; without
    ///   FEAT_TLBIRANGE the whole VMID.
    /// - Everything, or more than [`MAX_ADDRESS_OPERATIONS`](Self::MAX_ADDRESS_OPERATIONS)
    ///   operations: the whole VMID.
    /// - Fresh mappings only: the barrier that publishes them.
    ///
    /// Address-wise operations are followed by an invalidation of all stage-1 entries of the VMID,
    /// since a TLB may hold both stages combined under the guest-virtual address alone.
    // Arm ARM DDI 0487, chapter D8, "TLB maintenance": scope of the A64 TLB maintenance
    // instructions, and the use of IPAS2E1 with VMALLE1.
    pub fn instructions(&self, request: &Invalidation) -> impl Iterator<Item = Instruction> {
        self.instructions_from(request, request.space().root_register)
    }

    /// The instructions that carry out `request` on a CPU whose `VTTBR_EL2` is `current_vttbr`: those
    /// of [`instructions`](Self::instructions), and around them, where the register selects another
    /// address space and something is to be invalidated, a switch to the request's and back.
    pub fn instructions_from(
        &self,
        request: &Invalidation,
        current_vttbr: u64,
    ) -> impl Iterator<Item = Instruction> {
        let mut sequence = [None; MAX_INSTRUCTIONS];
        let mut free = sequence.iter_mut();
        self.for_each_instruction(request, current_vttbr, |instruction| {
            if let Some(slot) = free.next() {
                *slot = Some(instruction);
            }
        });
        sequence.into_iter().flatten()
    }

    /// Calls `run` with what [`instructions_from`](Self::instructions_from) lists.
    #[inline(always)]
    pub(crate) fn for_each_instruction(
        &self,
        request: &Invalidation,
        current_vttbr: u64,
        mut run: impl FnMut(Instruction),
    ) {
        let ranges = request.ranges();
        let reach = match request.covers_everything() {
            true => Reach::Everything,
            false => self.reach(ranges),
        };
        let reaches_all = request.scope() == Scope::AllCpus;
        let form = |all, local| if reaches_all { all } else { local };
        run(form(Instruction::DsbIshst, Instruction::DsbNshst));
        if reach == Reach::Nothing {
            return;
        }
        let target = request.space().root_register;
        let switches = target != current_vttbr;
        if switches {
            // Completes walks that the CPU began speculatively for the address space it leaves.
            run(Instruction::DsbNsh);
            run(Instruction::WriteVttbr(target));
            run(Instruction::Isb);
        }
        if reach == Reach::Everything {
            run(form(
                Instruction::TlbiVmalls12e1is,
                Instruction::TlbiVmalls12e1,
            ));
        } else {
            let mut operands = Operands::new(ranges);
            while let Some(operand) = operands.next(self.capabilities()) {
                match (operand, reaches_all) {
                    (Operand::Single(xt), true) => run(Instruction::TlbiIpas2e1is(xt)),
                    (Operand::Single(xt), false) => run(Instruction::TlbiIpas2e1(xt)),
                    (Operand::Range(xt), true) => run(Instruction::TlbiRipas2e1is(xt)),
                    (Operand::Range(xt), false) => run(Instruction::TlbiRipas2e1(xt)),
                    (Operand::Missing, _) => {}
                }
            }
            // Mandatory: a walk could otherwise combine the old stage-2 entry with stage 1 again after
            // stage 1 was invalidated.
            run(form(Instruction::DsbIsh, Instruction::DsbNsh));
            run(form(Instruction::TlbiVmalle1is, Instruction::TlbiVmalle1));
        }
        run(form(Instruction::DsbIsh, Instruction::DsbNsh));
        run(Instruction::Isb);
        if switches {
            run(Instruction::WriteVttbr(current_vttbr));
            run(Instruction::Isb);
        }
    }

    fn reach(&self, ranges: &[InvalidatedRange]) -> Reach {
        let mut count = 0;
        let mut operands = Operands::new(ranges);
        while let Some(operand) = operands.next(self.capabilities()) {
            count += 1;
            if operand == Operand::Missing || count > Self::MAX_ADDRESS_OPERATIONS {
                return Reach::Everything;
            }
        }
        match count {
            0 => Reach::Nothing,
            _ => Reach::Addresses,
        }
    }
}
