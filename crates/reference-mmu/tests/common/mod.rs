//! Sparse memory that tests fill entry by entry.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "every test file compiles this module and uses its own part of it"
)]

use std::collections::BTreeMap;

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use reference_mmu::{Access, GuestMode, NestedMmu, PhysicalMemory};

pub(crate) const READ: Access = Access::Read;
pub(crate) const WRITE: Access = Access::Write;
pub(crate) const EXECUTE: Access = Access::Execute(GuestMode::Supervisor);
pub(crate) const EXECUTE_USER: Access = Access::Execute(GuestMode::User);
pub(crate) const ACCESSES: [Access; 4] = [READ, WRITE, EXECUTE, EXECUTE_USER];

/// Pages of zeros, and the numbers that were put into them. A page that holds no number is absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sparse {
    pages: BTreeMap<u64, BTreeMap<u64, u64>>,
}

impl Sparse {
    pub(crate) fn new(entries: &[(u64, u64)]) -> Self {
        let mut memory = Self::default();
        for (address, value) in entries {
            memory.put(*address, *value);
        }
        memory
    }

    /// Makes `size` bytes present, as zeros.
    pub(crate) fn with_zeros(mut self, address: u64, size: u64) -> Self {
        for page in address >> 12..(address + size) >> 12 {
            self.pages.entry(page).or_default();
        }
        self
    }

    pub(crate) fn put(&mut self, address: u64, value: u64) {
        assert_eq!(address % 8, 0);
        let page = self.pages.entry(address >> 12).or_default();
        page.insert(address, value);
    }
}

impl PhysicalMemory for Sparse {
    fn read(&self, address: HostPhysAddr) -> Option<u64> {
        let address = address.as_u64();
        let page = self.pages.get(&(address >> 12))?;
        Some(page.get(&address).copied().unwrap_or(0))
    }
}

pub(crate) fn gpa(address: u64) -> GuestPhysAddr {
    GuestPhysAddr::new(address)
}

/// The host address that `access` reaches, or its fault.
pub(crate) fn reach<T: NestedMmu>(
    mmu: &T,
    memory: &Sparse,
    address: u64,
    access: Access,
) -> Result<u64, T::Fault> {
    let outcome = mmu.walk(memory, gpa(address), access).outcome;
    outcome.map(|translation| translation.address.as_u64())
}

/// Start, size and first host address, or fault, of all regions.
pub(crate) fn regions<T: NestedMmu>(
    mmu: &T,
    memory: &Sparse,
) -> Vec<(u64, u64, Result<u64, T::Why>)> {
    let mut all = Vec::new();
    mmu.for_each_region(memory, |region| {
        let outcome = region.outcome.map(|leaf| leaf.address.as_u64());
        all.push((region.start.as_u64(), region.size, outcome));
    });
    all
}
