//! Which instructions carry out an invalidation.

use core::iter;

use nested_page_table::{Invalidation, Scope};

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

/// The forms of the instructions that reach the CPUs of a scope.
struct Forms {
    publish: Instruction,
    complete: Instruction,
    single: fn(u64) -> Instruction,
    range: fn(u64) -> Instruction,
    stage1: Instruction,
    everything: Instruction,
}

impl Forms {
    fn of(scope: Scope) -> Self {
        match scope {
            Scope::AllCpus => Self {
                publish: Instruction::DsbIshst,
                complete: Instruction::DsbIsh,
                single: Instruction::TlbiIpas2e1is,
                range: Instruction::TlbiRipas2e1is,
                stage1: Instruction::TlbiVmalle1is,
                everything: Instruction::TlbiVmalls12e1is,
            },
            Scope::Local => Self {
                publish: Instruction::DsbNshst,
                complete: Instruction::DsbNsh,
                single: Instruction::TlbiIpas2e1,
                range: Instruction::TlbiRipas2e1,
                stage1: Instruction::TlbiVmalle1,
                everything: Instruction::TlbiVmalls12e1,
            },
        }
    }

    /// What follows the address-wise operations.
    fn tail(&self, reach: Reach) -> [Option<Instruction>; 4] {
        match reach {
            Reach::Nothing => [None; 4],
            // The first barrier is mandatory: a walk could otherwise combine the old stage-2 entry
            // with stage 1 again after stage 1 was invalidated.
            Reach::Addresses => {
                [self.complete, self.stage1, self.complete, Instruction::Isb].map(Some)
            }
            Reach::Everything => [
                Some(self.everything),
                Some(self.complete),
                Some(Instruction::Isb),
                None,
            ],
        }
    }
}

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
        let (reach, forms) = (self.reach(request), Forms::of(request.scope()));
        let target = request.space().root_register;
        let switches = reach != Reach::Nothing && target != current_vttbr;
        // The barrier completes walks that the CPU began speculatively for the address space it
        // leaves.
        let enter = [
            Instruction::DsbNsh,
            Instruction::WriteVttbr(target),
            Instruction::Isb,
        ];
        let leave = [Instruction::WriteVttbr(current_vttbr), Instruction::Isb];
        iter::once(forms.publish)
            .chain(enter.into_iter().filter(move |_| switches))
            .chain(self.address_operations(request, reach, forms.single, forms.range))
            .chain(forms.tail(reach).into_iter().flatten())
            .chain(leave.into_iter().filter(move |_| switches))
    }

    fn address_operations(
        &self,
        request: &Invalidation,
        reach: Reach,
        single: fn(u64) -> Instruction,
        range: fn(u64) -> Instruction,
    ) -> impl Iterator<Item = Instruction> {
        let ranges = match reach {
            Reach::Addresses => request.ranges(),
            _ => &[],
        };
        let operands = |range| Operands::new(range, &self.capabilities());
        let operands = ranges.iter().filter_map(operands).flatten();
        operands.map(move |operand| match operand {
            Operand::Single(xt) => single(xt),
            Operand::Range(xt) => range(xt),
        })
    }

    fn reach(&self, request: &Invalidation) -> Reach {
        if request.covers_everything() {
            return Reach::Everything;
        }
        let mut left = Self::MAX_ADDRESS_OPERATIONS;
        for range in request.ranges() {
            let count = Operands::new(range, &self.capabilities())
                .map(|operands| operands.take(left + 1).count());
            match count.and_then(|count| left.checked_sub(count)) {
                Some(rest) => left = rest,
                None => return Reach::Everything,
            }
        }
        if left == Self::MAX_ADDRESS_OPERATIONS {
            Reach::Nothing
        } else {
            Reach::Addresses
        }
    }
}
