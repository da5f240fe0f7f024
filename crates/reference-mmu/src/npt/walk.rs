//! The nested table walk for the final guest-physical address.

use core::ops::ControlFlow;

use guest_addr::{GuestPhysAddr, HostPhysAddr};

use super::config::Npt;
use super::entry::{ACCESSED, Attributes, DIRTY};
use super::fault::{Fault, Why};
use crate::access::Access;
use crate::bits::{field, mask};
use crate::memory::PhysicalMemory;
use crate::mmu::NestedMmu;
use crate::regions::{Entry, Region, Tables, visit_table};
use crate::walk::{Steps, Translation, Walk};

impl NestedMmu for Npt {
    type Attributes = Attributes;
    type Fault = Fault;
    type Why = Why;

    /// 48 bits with 4 levels. With 5 the walk uses 57, of which a processor can only produce
    /// MAXPHYADDR.
    fn input_bits(&self) -> u32 {
        if self.features.five_levels { 57 } else { 48 }
    }

    fn walk<M: PhysicalMemory + ?Sized>(
        &self,
        memory: &M,
        address: GuestPhysAddr,
        access: Access,
    ) -> Walk<Attributes, Fault> {
        let mut steps = Steps::new();
        let outcome = self.translate(memory, address, access, &mut steps);
        Walk { outcome, steps }
    }

    fn try_for_each_region<M, B, V>(&self, memory: &M, mut visit: V) -> ControlFlow<B>
    where
        M: PhysicalMemory + ?Sized,
        V: FnMut(Region<Attributes, Why>) -> ControlFlow<B>,
    {
        visit_table(self, memory, &self.root(), &mut visit)
    }
}

impl Npt {
    fn translate<M: PhysicalMemory + ?Sized>(
        &self,
        memory: &M,
        gpa: GuestPhysAddr,
        access: Access,
        steps: &mut Steps,
    ) -> Result<Translation<Attributes>, Fault> {
        let root = self.root();
        let (mut table, mut level, mut granted) = (root.address, root.level, root.inherited);
        let fault = |level, why| Err(self.fault(level, why, access));
        if !gpa.fits_in(self.input_bits()) {
            return fault(level, Why::AddressWidth);
        }
        loop {
            let entry = HostPhysAddr::new(table.as_u64() | table_index(gpa, level) << 3);
            let Some(value) = memory.read(entry) else {
                return fault(level, Why::NoMemory);
            };
            steps.push(level, entry, value);
            match self.decode(level, value, granted) {
                Entry::Absent => return fault(level, Why::NotPresent),
                Entry::Illegal(why) => return fault(level, why),
                Entry::Table {
                    address,
                    level: below,
                    inherited,
                } => (table, level, granted) = (address, below, inherited),
                Entry::Leaf(leaf) if !leaf.permissions.allow(access) => {
                    return fault(level, Why::Permission);
                }
                Entry::Leaf(leaf) => {
                    record_accessed_and_dirty(access, steps);
                    return Ok(leaf.at(gpa));
                }
            }
        }
    }

    /// 8.4.2 and 15.25.6: what EXITINFO1 says.
    fn fault(&self, level: u8, why: Why, access: Access) -> Fault {
        let cause = match why {
            Why::AddressWidth | Why::NotPresent => 0,
            Why::NotUser | Why::Permission => 1,
            Why::ReservedBits { .. } => 1 | 1 << 3,
            Why::NoMemory => {
                return Fault {
                    level,
                    why,
                    information: 0,
                };
            }
        };
        let attempted = match access {
            Access::Read => 0,
            Access::Write => 1 << 1,
            Access::Execute(_) => u64::from(self.features.no_execute) << 4,
        };
        Fault {
            level,
            why,
            information: 1 << 32 | 1 << 2 | attempted | cause,
        }
    }
}

/// 5.4.2 "Notes on Accessed and Dirty Bits": accessed in every entry used, dirty in the leaf.
fn record_accessed_and_dirty(access: Access, steps: &mut Steps) {
    steps.record_updates(|entry, is_leaf| {
        let accessed = entry | mask(ACCESSED, ACCESSED);
        match is_leaf && access == Access::Write {
            true => accessed | mask(DIRTY, DIRTY),
            false => accessed,
        }
    });
}

/// 5.3.3 "4-Kbyte Page Translation": the bits of the address that select the entry.
fn table_index(gpa: GuestPhysAddr, level: u8) -> u64 {
    let gpa = gpa.as_u64();
    match level {
        5 => field(gpa, 56, 48),
        4 => field(gpa, 47, 39),
        3 => field(gpa, 38, 30),
        2 => field(gpa, 29, 21),
        _ => field(gpa, 20, 12),
    }
}
