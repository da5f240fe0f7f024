//! What `axaddrspace` documents of its address space, on tables of every architecture, as the hardware sees them.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

mod arena;
mod faults;
mod linear;
mod machine;
mod migration;
mod model;
mod operations;
mod vocabulary;

use axaddrspace::{AddrSpace, MappingFlags};
use axvm_types::GuestPhysAddr;
use nested_paging_aarch64::Stage2;
use nested_paging_arceos::Table;
use nested_paging_riscv64::GStage;
use nested_paging_x86_64::{Ept, Nested, Npt};
use reference_mmu::Access;

use crate::arena::Arena;
use crate::machine::{Host, Machine};

pub(crate) const READ_WRITE: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);
pub(crate) const ALL: MappingFlags = READ_WRITE.union(MappingFlags::EXECUTE);

/// A test for every format.
pub(crate) trait Check {
    fn check<F: Machine>(&self, format: F);
}

pub(crate) fn on_every_machine(check: &impl Check) {
    fn each<F: Machine>(check: &impl Check) {
        F::all().into_iter().for_each(|format| check.check(format));
    }
    each::<GStage>(check);
    each::<Stage2>(check);
    each::<Ept>(check);
    each::<Npt>(check);
    each::<Nested>(check);
}

/// An address space over one table, and the hardware.
pub(crate) struct Rig<F: Machine> {
    pub(crate) arena: Arena,
    pub(crate) space: AddrSpace<Table<F, Host>>,
}

impl<F: Machine> Rig<F> {
    /// 64 GiB from 0 on.
    pub(crate) fn new(format: F) -> Self {
        let arena = Arena::new();
        let table = format.table(&arena);
        let space = AddrSpace::new_empty(table, 0.into(), 64 << 30).unwrap();
        Self { arena, space }
    }

    /// Where the hardware goes.
    pub(crate) fn reach(&self, address: usize, access: Access) -> Option<usize> {
        let table = self.space.page_table();
        let config = table.nested_paging_config();
        let format = table.table().format();
        format.reach(&self.arena, &config, address, access)
    }

    /// How the address space and the hardware translate: the same.
    pub(crate) fn translate(&self, address: usize) -> Option<usize> {
        let translated = self
            .space
            .translate(gpa(address))
            .map(|host| host.as_usize());
        assert_eq!(
            translated,
            self.reach(address, machine::READ),
            "{address:#x}"
        );
        translated
    }
}

pub(crate) fn gpa(address: usize) -> GuestPhysAddr {
    GuestPhysAddr::from_usize(address)
}
