//! The fences. (Privileged Architecture 20250508, "Hypervisor Memory-Management Fence Instructions"
//! and "Supervisor Memory-Management Fence Instruction".)
#![expect(
    unsafe_code,
    reason = "executing instructions of HS-mode has conditions"
)]

use core::ops::RangeInclusive;

use nested_page_table::{Format, InvalidatedRange, Invalidation};

use crate::format::GStage;
use crate::hardware;

/// An instruction with the operands that it is executed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Instruction {
    /// `HFENCE.GVMA rs1, rs2`: orders this hart's earlier stores before its later G-stage walks.
    ///
    /// `None` stands for the register x0, which means "all". A register that holds zero is not the
    /// same: it means address 0, or VMID 0.
    HfenceGvma {
        /// A guest-physical address shifted right by 2. The fence then covers leaves only.
        rs1: Option<u64>,
        /// A VMID.
        rs2: Option<u64>,
    },
}

impl Instruction {
    /// Executes the instruction on this hart.
    ///
    /// # Panics
    ///
    /// On a hosted operating system, and on other architectures.
    ///
    /// # Safety
    ///
    /// - The hart is in HS-mode and mstatus.TVM is 0, or it is in M-mode.
    #[inline]
    pub unsafe fn execute(self) {
        let Self::HfenceGvma { rs1, rs2 } = self;
        // SAFETY: the caller keeps the same condition.
        unsafe { hardware::hfence_gvma(rs1, rs2) }
    }
}

/// FENCE.I: fetches of this hart that come later see every store that this hart sees now. (Unprivileged
/// Architecture, chapter "Zifencei".)
///
/// This is this hart's part of `VmHal::sync_instructions`. The instruction reaches no other hart, and
/// the harts of one machine may keep old instructions: each hart that runs the guest executes it, after
/// the stores and before it fetches them. To have the others do it, execute `FENCE RW, RW` here and
/// call the SBI's `remote_fence_i` (RFENCE, FID 0).
///
/// # Panics
///
/// On a hosted operating system, and on other architectures.
///
/// # Safety
///
/// - The hart has Zifencei.
#[inline]
pub unsafe fn fence_i() {
    // SAFETY: the caller keeps the same condition.
    unsafe { hardware::fence_i() }
}

impl GStage {
    /// The most fences by address that a request is worth. One fence for the whole VMID takes the
    /// place of more.
    pub const MAX_ADDRESS_FENCES: u64 = 64;

    /// What one hart executes to carry out `request`, in order.
    ///
    /// The fence acts on the hart that executes it, whatever the request's scope: for
    /// `Scope::AllCpus` every hart in question executes the same sequence, or the firmware does it
    /// for them (SBI RFENCE, whose addresses are not shifted).
    ///
    /// A fence with an address covers leaves only, so a request that concerns tables fences the
    /// whole VMID; so does one that would take more than
    /// [`MAX_ADDRESS_FENCES`](Self::MAX_ADDRESS_FENCES). Otherwise there is one fence for each leaf
    /// of a known level, and one for each 4 KiB of an unknown one.
    #[inline]
    pub fn instructions(&self, request: &Invalidation) -> impl Iterator<Item = Instruction> {
        let rs2 = Some(self.vmid_operand(request.space().vmid));
        let by_address = self.is_worth_fencing_by_address(request);
        let whole = (!by_address).then_some(Instruction::HfenceGvma { rs1: None, rs2 });
        let ranges = match by_address {
            true => request.ranges(),
            false => &[],
        };
        let leaves = ranges.iter().flat_map(move |changed| {
            let shift = self.leaf_shift(changed);
            leaf_numbers(changed, shift).map(move |number| Instruction::HfenceGvma {
                rs1: Some(number << shift >> 2),
                rs2,
            })
        });
        whole.into_iter().chain(leaves)
    }

    /// Carries out `request` on this hart.
    ///
    /// # Panics
    ///
    /// On a hosted operating system, and on other architectures.
    ///
    /// # Safety
    ///
    /// - The hart is in HS-mode and mstatus.TVM is 0, or it is in M-mode.
    #[inline]
    pub unsafe fn invalidate(&self, request: &Invalidation) {
        // Not a loop: the iterator's own one has no state to keep between two fences.
        self.instructions(request).for_each(|instruction| {
            // SAFETY: the caller keeps the same condition.
            unsafe { instruction.execute() }
        });
    }

    fn is_worth_fencing_by_address(&self, request: &Invalidation) -> bool {
        let fences = request.ranges().iter().try_fold(0_u64, |sum, changed| {
            let numbers = leaf_numbers(changed, self.leaf_shift(changed));
            let more = numbers
                .end()
                .checked_sub(*numbers.start())?
                .checked_add(1)?;
            sum.checked_add(more).filter(|_| !changed.tables)
        });
        let within = 1..=Self::MAX_ADDRESS_FENCES;
        fences.is_some_and(|fences| within.contains(&fences))
    }

    fn leaf_shift(&self, changed: &InvalidatedRange) -> u32 {
        changed
            .level
            .map_or(12, |level| self.geometry().shift(level).max(12))
    }
}

/// The leaves of `1 << shift` bytes that `changed` touches, counted from address 0.
fn leaf_numbers(changed: &InvalidatedRange, shift: u32) -> RangeInclusive<u64> {
    let (start, last) = (changed.range.start(), changed.range.last());
    start.as_u64() >> shift..=last.as_u64() >> shift
}
