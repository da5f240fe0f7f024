//! Which instructions carry out an invalidation.

use nested_page_table::{InvalidatedRange, Invalidation, Scope};

use crate::format::Stage2;
use crate::instructions::Instruction;
use crate::operands::{Operand, Operands};
use crate::registers::Stage2Registers;

/// The most instructions of one sequence: barriers, a switch there and back, the operations, and the
/// repetition.
const MAX_INSTRUCTIONS: usize = Stage2::MAX_ADDRESS_OPERATIONS + 14;

impl Stage2 {
    /// The most address-wise operations that one request costs. What would take more invalidates the
    /// whole VMID instead, with one operation.
    pub const MAX_ADDRESS_OPERATIONS: usize = 64;

    /// The instructions that carry out `request` on a CPU whose `VTCR_EL2` and `VTTBR_EL2` select the
    /// address space already; nothing is executed. TLB invalidation acts on the VMID in `VTTBR_EL2`:
    /// see [`instructions_from`](Self::instructions_from) for CPUs where it selects another.
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
    ///
    /// With [`repeat_tlbi`](crate::Capabilities::repeat_tlbi), a sequence for all CPUs ends with one
    /// more `TLBI` and `DSB`. The errata concern accesses that an invalidated entry translated, not
    /// the entries: any broadcast `TLBI` makes the next `DSB` wait for those accesses, whatever it
    /// invalidates. `TLBI VALE2IS` of address 0 costs the guest nothing. What stage 2 alone
    /// invalidates needs no repetition, since combined entries stay until stage 1 is invalidated; nor
    /// do the forms for the calling CPU.
    // Arm ARM DDI 0487, chapter D8, "TLB maintenance": scope of the A64 TLB maintenance
    // instructions, and the use of IPAS2E1 with VMALLE1. The repetition: Linux, commit a8f78680ee6b
    // ("arm64: tlb: Optimize ARM64_WORKAROUND_REPEAT_TLBI"), points 1 to 5.
    pub fn instructions(&self, request: &Invalidation) -> impl Iterator<Item = Instruction> {
        self.instructions_from(request, self.registers_for(request))
    }

    /// The instructions that carry out `request` on a CPU whose `VTCR_EL2` and `VTTBR_EL2` are
    /// `current`: those of [`instructions`](Self::instructions), and around them, where the registers
    /// select another address space and something is to be invalidated, a switch to the request's and
    /// back.
    ///
    /// `VTCR_EL2` is switched with `VTTBR_EL2`, because another machine's table may have another
    /// shape, and VMIDs of another width: with the wrong one, a walk would read tables of the one
    /// machine as those of the other, and an invalidation might miss its VMID. No `ISB` stands between
    /// the two writes: at EL2 the CPU walks nothing for EL1 on its own account, and an `ISB` comes
    /// before the first instruction that uses the registers. (CPUs with speculative
    /// address-translation errata do walk: see [`Instruction::execute`].)
    pub fn instructions_from(
        &self,
        request: &Invalidation,
        current: Stage2Registers,
    ) -> impl Iterator<Item = Instruction> {
        let mut sequence = [None; MAX_INSTRUCTIONS];
        let mut free = sequence.iter_mut();
        self.for_each_instruction(request, current, |instruction| {
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
        current: Stage2Registers,
        mut run: impl FnMut(Instruction),
    ) {
        let ranges = request.ranges();
        let operations = match request.covers_everything() {
            true => usize::MAX,
            false => self.operations(ranges),
        };
        let reaches_all = request.scope() == Scope::AllCpus;
        let form = |all, local| if reaches_all { all } else { local };
        run(form(Instruction::DsbIshst, Instruction::DsbNshst));
        if operations == 0 {
            return;
        }
        let target = self.registers_for(request);
        let switches = target != current;
        if switches {
            // Completes walks that the CPU began speculatively for the address space it leaves.
            run(Instruction::DsbNsh);
            run(Instruction::WriteVtcr(target.vtcr));
            run(Instruction::WriteVttbr(target.vttbr));
            run(Instruction::Isb);
        }
        if operations > Self::MAX_ADDRESS_OPERATIONS {
            run(form(
                Instruction::TlbiVmalls12e1is,
                Instruction::TlbiVmalls12e1,
            ));
        } else {
            let mut operands = Operands::new(ranges);
            while let Some(operand) = operands.next(self.capabilities()) {
                match operand {
                    Operand::Single(xt) => run(form(
                        Instruction::TlbiIpas2e1is(xt),
                        Instruction::TlbiIpas2e1(xt),
                    )),
                    // The guard is true here. It removes the code where the format is a constant
                    // without range operations.
                    Operand::Range(xt) if self.capabilities().tlb_range() => run(form(
                        Instruction::TlbiRipas2e1is(xt),
                        Instruction::TlbiRipas2e1(xt),
                    )),
                    Operand::Range(_) | Operand::Missing => {}
                }
            }
            // Mandatory: a walk could otherwise combine the old stage-2 entry with stage 1 again after
            // stage 1 was invalidated.
            run(form(Instruction::DsbIsh, Instruction::DsbNsh));
            run(form(Instruction::TlbiVmalle1is, Instruction::TlbiVmalle1));
        }
        run(form(Instruction::DsbIsh, Instruction::DsbNsh));
        if reaches_all && self.capabilities().repeat_tlbi() {
            // The DSB above did not wait for accesses of affected CPUs; this one does.
            run(Instruction::TlbiVale2is(0));
            run(Instruction::DsbIsh);
        }
        run(Instruction::Isb);
        if switches {
            run(Instruction::WriteVtcr(current.vtcr));
            run(Instruction::WriteVttbr(current.vttbr));
            run(Instruction::Isb);
        }
    }

    /// The registers that select the address space of `request`.
    fn registers_for(&self, request: &Invalidation) -> Stage2Registers {
        Stage2Registers {
            vtcr: self.vtcr(),
            vttbr: request.space().root_register,
        }
    }

    /// How many address-wise operations `ranges` take: 0 where nothing has to be forgotten, and more
    /// than [`MAX_ADDRESS_OPERATIONS`](Self::MAX_ADDRESS_OPERATIONS) where the whole VMID has to be.
    fn operations(&self, ranges: &[InvalidatedRange]) -> usize {
        let mut operands = Operands::new(ranges);
        let mut count = 0;
        while count <= Self::MAX_ADDRESS_OPERATIONS {
            match operands.next(self.capabilities()) {
                None => break,
                Some(Operand::Missing) => return usize::MAX,
                Some(_) => count += 1,
            }
        }
        count
    }
}
