//! The EPT translation mechanism.

use core::ops::ControlFlow;

use guest_addr::{GuestPhysAddr, HostPhysAddr};

use super::config::Ept;
use super::entry::{ACCESSED, Attributes, DIRTY, EXECUTE, EXECUTE_USER, READ, SUPPRESS_VE};
use super::fault::{Fault, Why};
use crate::access::Access;
use crate::bits::{bit, field, mask};
use crate::memory::PhysicalMemory;
use crate::mmu::NestedMmu;
use crate::regions::{Entry, Region, Tables, visit_table};
use crate::walk::{Steps, Translation, Walk};

impl NestedMmu for Ept {
    type Attributes = Attributes;
    type Fault = Fault;
    type Why = Why;

    /// 48 bits with 4 levels. With 5 the walk uses 57, of which a processor can only produce
    /// MAXPHYADDR.
    fn input_bits(&self) -> u32 {
        if self.levels == 5 { 57 } else { 48 }
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

impl Ept {
    fn translate<M: PhysicalMemory + ?Sized>(
        &self,
        memory: &M,
        gpa: GuestPhysAddr,
        access: Access,
        steps: &mut Steps,
    ) -> Result<Translation<Attributes>, Fault> {
        let (mut table, mut level) = (self.root, self.levels);
        let mut granted = self.access_bits();
        if !gpa.fits_in(self.input_bits()) {
            // No entry says anything about it.
            return Err(self.violation(level, Why::AddressWidth, access, 0, None));
        }
        loop {
            let entry = HostPhysAddr::new(table.as_u64() | table_index(gpa, level) << 3);
            let value = memory.read(entry);
            let value = value.ok_or(not_a_violation(level, Why::NoMemory))?;
            steps.push(level, entry, value);
            match self.decode(level, value, granted) {
                Entry::Absent => {
                    let entry = Some(value);
                    return Err(self.violation(level, Why::NotPresent, access, 0, entry));
                }
                Entry::Illegal(why) => return Err(not_a_violation(level, why)),
                Entry::Table {
                    address,
                    level: below,
                    inherited,
                } => (table, level, granted) = (address, below, inherited),
                // "Prioritization": permissions are judged after the last entry was found good.
                Entry::Leaf(leaf) if !leaf.permissions.allow(access) => {
                    let granted = granted & value;
                    let entry = Some(value);
                    return Err(self.violation(level, Why::Permission, access, granted, entry));
                }
                Entry::Leaf(leaf) => {
                    self.record_accessed_and_dirty(access, steps);
                    return Ok(leaf.at(gpa));
                }
            }
        }
    }

    /// The table "Exit Qualification for EPT Violations", and "Convertible EPT Violations" for the entry
    /// where the walk stopped.
    fn violation(
        &self,
        level: u8,
        why: Why,
        access: Access,
        granted: u64,
        entry: Option<u64>,
    ) -> Fault {
        let attempted = match access {
            Access::Read => 1,
            Access::Write => 1 << 1,
            Access::Execute(_) => 1 << 2,
        };
        let user = self.features.mode_based_execute && bit(granted, EXECUTE_USER);
        let suppressed = entry.is_none_or(|entry| bit(entry, SUPPRESS_VE));
        Fault {
            level,
            why,
            convertible: self.features.violation_exceptions && !suppressed,
            qualification: attempted
                | field(granted, EXECUTE, READ) << 3
                | u64::from(user) << 6
                | 1 << 7
                | 1 << 8,
        }
    }

    /// "Accessed and Dirty Flags for EPT": accessed in every entry used, dirty in the leaf.
    fn record_accessed_and_dirty(&self, access: Access, steps: &mut Steps) {
        if !self.accessed_dirty {
            return;
        }
        steps.record_updates(|entry, is_leaf| {
            let accessed = entry | mask(ACCESSED, ACCESSED);
            match is_leaf && access == Access::Write {
                true => accessed | mask(DIRTY, DIRTY),
                false => accessed,
            }
        });
    }
}

fn not_a_violation(level: u8, why: Why) -> Fault {
    Fault {
        level,
        why,
        qualification: 0,
        convertible: false,
    }
}

/// "EPT Translation Mechanism": the bits of the guest-physical address that select the entry.
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
