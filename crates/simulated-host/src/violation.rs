//! What the machine holds against the software that runs on it.

use std::sync::Mutex;

use guest_addr::{GuestPhysAddr, HostPhysAddr, HostPhysRange};

use crate::instruction::TlbInstruction;
use crate::sync::locked;
use crate::walk::{Outcome, Walk};

/// Where a CPU had what it should not have used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The cached result of a whole walk, absence included.
    Translation,
    /// A cached result of both stages together, not tagged by the guest-physical address.
    Combined,
    /// A cached table entry at this level, from which the walk went on in today's memory.
    TableEntry(u8),
}

/// Something that must not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// An allocation of no frames, or with an alignment that is no power of two of 4 KiB or more.
    BadAllocation {
        /// The frames that were asked for.
        frames: u64,
        /// The alignment in bytes.
        alignment: u64,
    },
    /// A frame was given back twice.
    DoubleFree {
        /// The frame.
        frame: HostPhysAddr,
    },
    /// A frame was given back that was never handed out.
    NeverAllocated {
        /// The frame.
        frame: HostPhysAddr,
    },
    /// Frames were given back that are not one run as it was handed out (or a part of one, where
    /// runs may be given back in parts).
    WrongRun {
        /// The first frame.
        base: HostPhysAddr,
        /// The number of frames that were given back.
        frames: u64,
    },
    /// A pointer to a frame was asked for that had been given back.
    UsedAfterFree {
        /// The address.
        address: HostPhysAddr,
    },
    /// Memory was given back while a CPU had a cached pointer to it as a table.
    FreedWhileTable {
        /// The memory.
        range: HostPhysRange,
        /// The CPU.
        cpu: usize,
        /// The walk that is cached.
        cached: Walk,
    },
    /// A root was given back while a CPU had cached translations of its address space.
    FreedWhileRoot {
        /// The memory.
        range: HostPhysRange,
        /// The CPU.
        cpu: usize,
        /// A walk that is cached.
        cached: Walk,
    },
    /// Memory was given back while a CPU had a cached translation to it.
    FreedWhileMapped {
        /// The memory.
        range: HostPhysRange,
        /// The CPU.
        cpu: usize,
        /// The walk that is cached.
        cached: Walk,
    },
    /// A CPU can still do what the tables do not permit, or reach what they do not name.
    Stale {
        /// The CPU.
        cpu: usize,
        /// The guest-physical address.
        gpa: GuestPhysAddr,
        /// What it used.
        source: Source,
        /// What it concludes.
        cached: Outcome,
        /// What the tables say.
        current: Outcome,
    },
    /// A CPU still faults where the tables permit, and the architecture does not end that by itself.
    Spurious {
        /// The CPU.
        cpu: usize,
        /// The guest-physical address.
        gpa: GuestPhysAddr,
        /// What it used.
        source: Source,
        /// What it concludes.
        cached: Outcome,
        /// What the tables say.
        current: Outcome,
    },
    /// A valid entry was replaced by a different valid one while the old one was cached.
    BreakBeforeMake {
        /// The CPU.
        cpu: usize,
        /// The guest-physical address.
        gpa: GuestPhysAddr,
        /// What is cached.
        cached: Walk,
        /// What the tables say.
        current: Walk,
    },
    /// An invalidation was issued before the stores to the tables were visible to walkers.
    StoresNotOrdered {
        /// The CPU that issued it.
        cpu: usize,
        /// The invalidation.
        instruction: TlbInstruction,
    },
    /// An invalidation was issued between a write of VTCR_EL2 or VTTBR_EL2 and the ISB that makes it
    /// count.
    VttbrNotSynchronised {
        /// The CPU that issued it.
        cpu: usize,
        /// The invalidation.
        instruction: TlbInstruction,
    },
    /// An invalidation was issued while VTCR_EL2 was that of another machine than VTTBR_EL2.
    WrongVtcr {
        /// The CPU that issued it.
        cpu: usize,
        /// The value of VTCR_EL2.
        vtcr: u64,
    },
    /// A sequence ended before its invalidations were complete.
    NotCompleted {
        /// The CPU that issued them.
        cpu: usize,
        /// How many were open.
        open: usize,
    },
    /// A sequence ended with another VTTBR_EL2 than it found.
    VttbrNotRestored {
        /// The CPU.
        cpu: usize,
        /// The value that it found.
        before: u64,
        /// The value that it left.
        after: u64,
    },
    /// A sequence ended with another VTCR_EL2 than it found.
    VtcrNotRestored {
        /// The CPU.
        cpu: usize,
        /// The value that it found.
        before: u64,
        /// The value that it left.
        after: u64,
    },
    /// An instruction with operands that the architecture reserves or refuses.
    ReservedOperand {
        /// The CPU.
        cpu: usize,
        /// The instruction.
        instruction: TlbInstruction,
    },
    /// An instruction that the architecture does not have.
    UnknownInstruction {
        /// The CPU.
        cpu: usize,
        /// The instruction.
        instruction: TlbInstruction,
    },
    /// The guest can reach memory that was not cleaned to the point of coherency since it was
    /// allocated.
    NotCleaned {
        /// The guest-physical address.
        gpa: GuestPhysAddr,
        /// The frame.
        frame: HostPhysAddr,
    },
    /// A memory region was given back that was not reserved like that.
    RegionNotReserved {
        /// Its first byte.
        base: HostPhysAddr,
        /// Its size.
        size: u64,
    },
}

/// All violations so far, in the order in which they were noticed.
#[derive(Debug, Default)]
pub struct Violations(Mutex<Vec<Violation>>);

impl Violations {
    /// Violations past this number are not recorded: the first ones tell the story.
    const MAX: usize = 1000;

    /// Adds a violation.
    pub fn report(&self, violation: Violation) {
        let mut all = locked(&self.0);
        if all.len() < Self::MAX {
            all.push(violation);
        }
    }

    pub(crate) fn report_all(&self, violations: impl IntoIterator<Item = Violation>) {
        violations
            .into_iter()
            .for_each(|violation| self.report(violation));
    }

    /// A copy of the list.
    #[must_use]
    pub fn all(&self) -> Vec<Violation> {
        locked(&self.0).clone()
    }

    /// The list, which is empty afterwards.
    pub fn take(&self) -> Vec<Violation> {
        core::mem::take(&mut *locked(&self.0))
    }
}
