//! A leaf that leads elsewhere, behind the library's back.
#![expect(unsafe_code, reason = "writes an entry of a page table")]

use nested_paging::{GuestPhysAddr, HostPhysAddr};
use reference_mmu::{Access, NestedMmu};

use crate::machine::Machine;

/// An entry that was damaged, and what it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Damage {
    entry: HostPhysAddr,
    intact: u64,
}

impl Damage {
    /// Has the last entry of the walk to `address` damaged; `None` when the walk reads no entry.
    ///
    /// What translations are kept of the entry is not invalidated.
    pub(crate) fn inflict<M: Machine>(
        machine: &M,
        mmu: &M::Mmu,
        address: GuestPhysAddr,
    ) -> Option<Self> {
        let damage = Self::of::<M>(machine, mmu, address)?;
        damage.write(machine, machine.damage(damage.intact));
        Some(damage)
    }

    /// Has the page at `address` lead where `other` leads. A guest that goes on with the damage, and writes to the page,
    /// then writes to memory of its own: never to a page table, which the library would stumble over.
    pub(crate) fn inflict_by<M: Machine>(
        machine: &M,
        mmu: &M::Mmu,
        address: GuestPhysAddr,
        other: GuestPhysAddr,
    ) -> Option<Self> {
        let damage = Self::of::<M>(machine, mmu, address)?;
        let other = Self::of::<M>(machine, mmu, other)?;
        damage.write(machine, other.intact);
        Some(damage)
    }

    /// The last entry of the walk to `address`, as it is.
    fn of<M: Machine>(machine: &M, mmu: &M::Mmu, address: GuestPhysAddr) -> Option<Self> {
        let walk = mmu.walk(machine.memory(), address, Access::Read);
        let step = walk.steps.last()?;
        Some(Self {
            entry: step.entry,
            intact: step.value,
        })
    }

    /// Undoes the damage, so that the library does not stumble over it.
    pub(crate) fn repair<M: Machine>(self, machine: &M) {
        self.write(machine, self.intact);
    }

    fn write<M: Machine>(self, machine: &M, value: u64) {
        // SAFETY: the word is an entry of a page table, which is only reached by atomic and volatile
        // accesses.
        unsafe { machine.memory().write(self.entry, value) };
    }
}
