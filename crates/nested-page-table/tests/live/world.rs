//! A table on a machine, for one test on one variant.

use std::ops::{Deref, DerefMut};

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use simulated_host::SimulatedHost;

use crate::architectures::{AARCH64, EPT, NESTED_EPT, NESTED_NPT, NPT, RISCV};
use crate::variant::{Table, Variant};

pub(crate) const PAGE: u64 = 0x1000;
pub(crate) const BLOCK: u64 = 0x20_0000;
pub(crate) const GIB: u64 = 0x4000_0000;

/// A table and its machine. The table comes first: it is dropped before the machine.
pub(crate) struct World {
    table: Box<dyn Table>,
    pub(crate) variant: Variant,
}

impl World {
    fn new(variant: Variant) -> Self {
        let table = (variant.new_table)(variant.host).expect("a table");
        Self { table, variant }
    }

    pub(crate) fn host(&self) -> &'static SimulatedHost {
        self.variant.host
    }

    /// The frames that are out.
    pub(crate) fn frames(&self) -> usize {
        self.host().simulated_frames().outstanding_count()
    }

    /// What the reference MMU finds at `address`: where it leads.
    pub(crate) fn walk(&self, address: u64) -> Option<u64> {
        let register = self.table.root_register();
        let leaves = self
            .variant
            .reference
            .leaves(self.host().memory(), register);
        let leaf = leaves
            .iter()
            .find(|leaf| (leaf.guest..leaf.guest + leaf.size).contains(&address))?;
        Some(leaf.host + (address - leaf.guest))
    }
}

impl Deref for World {
    type Target = dyn Table;

    fn deref(&self) -> &Self::Target {
        &*self.table
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut *self.table
    }
}

/// Every combination of capabilities of every architecture, in a mode with few and one with many levels.
pub(crate) fn on_each(test: impl Fn(&mut World)) {
    for number in 0..8 {
        for variant in [
            RISCV("sv39x4", number),
            RISCV("sv57x4", number),
            AARCH64("ipa32", number),
            AARCH64("ipa40", number),
            AARCH64("ipa48", number),
            EPT("ept4", number),
            EPT("ept5", number),
            NPT("npt4", number),
            NPT("npt5", number),
            NESTED_EPT("ept4", number),
            NESTED_NPT("npt4", number),
        ] {
            let mut world = World::new(variant);
            test(&mut world);
            let host = world.host();
            assert_eq!(host.violations(), []);
            let World { table, variant } = world;
            drop(table);
            assert_eq!(host.simulated_frames().outstanding_count(), 0);
            drop(variant);
        }
    }
}

pub(crate) fn at(address: u64) -> GuestPhysAddr {
    GuestPhysAddr::new(address)
}

pub(crate) fn host(address: u64) -> HostPhysAddr {
    HostPhysAddr::new(address)
}

pub(crate) fn range(start: u64, size: u64) -> GuestPhysRange {
    GuestPhysRange::from_start_size(at(start), size).unwrap()
}
