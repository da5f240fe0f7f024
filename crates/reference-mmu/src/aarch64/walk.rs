//! `AArch64.S2Translate` and `AArch64.S2Walk`.

use core::ops::ControlFlow;

use guest_addr::{GuestPhysAddr, HostPhysAddr};

use super::config::Stage2;
use super::descriptor::{AF, Attributes, DBM, S2AP_WRITE};
use super::fault::{Fault, Strict, Why};
use crate::access::Access;
use crate::bits::{bit, field, mask};
use crate::memory::PhysicalMemory;
use crate::mmu::NestedMmu;
use crate::regions::{Entry, Region, Tables, visit_table};
use crate::walk::{MemoryKind, Steps, Translation, Walk};

impl NestedMmu for Stage2 {
    type Attributes = Attributes;
    type Fault = Fault;
    type Why = Why;

    fn input_bits(&self) -> u32 {
        self.input_bits
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

impl Stage2 {
    fn translate<M: PhysicalMemory + ?Sized>(
        &self,
        memory: &M,
        ipa: GuestPhysAddr,
        access: Access,
        steps: &mut Steps,
    ) -> Result<Translation<Attributes>, Fault> {
        let fault = |level, why| Fault { level, why };
        if !ipa.fits_in(self.input_bits) {
            return Err(fault(0, Why::AddressWidth));
        }
        let (mut table, mut level) = (self.root, self.start_level);
        loop {
            let index = self.table_index(ipa, level);
            let entry = HostPhysAddr::new(table.as_u64() | index << 3);
            let descriptor = memory.read(entry);
            let descriptor = descriptor.ok_or(fault(level, Why::ExternalAbort))?;
            steps.push(level, entry, descriptor);
            match self.decode(level, descriptor, ()) {
                Entry::Absent => return Err(fault(level, Why::Invalid)),
                Entry::Illegal(why) => return Err(fault(level, why)),
                Entry::Table {
                    address,
                    level: below,
                    ..
                } => (table, level) = (address, below),
                Entry::Leaf(leaf) => {
                    check_permissions(&leaf, access).map_err(|why| fault(level, why))?;
                    self.record_access_flag_and_dirty_state(access, steps);
                    return Ok(leaf.at(ipa));
                }
            }
        }
    }

    /// `AArch64.TTEntryAddress`, and `AArch64.S2SLTTEntryAddress` for the first, concatenated level,
    /// which takes all the bits that are left up to IAsize.
    fn table_index(&self, ipa: GuestPhysAddr, level: u8) -> u64 {
        let ipa = ipa.as_u64();
        let low = match level {
            0 => 39,
            1 => 30,
            2 => 21,
            _ => 12,
        };
        if level == self.start_level {
            field(ipa, self.input_bits - 1, low)
        } else {
            field(ipa, low + 8, low)
        }
    }

    /// `AArch64.S2Translate`: AF under HA, and S2AP\[1\] for a store under HA, HD and DBM.
    fn record_access_flag_and_dirty_state(&self, access: Access, steps: &mut Steps) {
        steps.record_updates(|descriptor, is_leaf| {
            let mut new = descriptor;
            if is_leaf && self.access_flag {
                new |= mask(AF, AF);
            }
            if is_leaf && self.dirty_state && bit(descriptor, DBM) && access == Access::Write {
                new |= mask(S2AP_WRITE, S2AP_WRITE);
            }
            new
        });
    }
}

/// `AArch64.S2CheckPermissions`.
fn check_permissions(leaf: &Translation<Attributes>, access: Access) -> Result<(), Why> {
    if !leaf.permissions.allow(access) {
        return Err(Why::Permission);
    }
    match (access, leaf.kind) {
        (Access::Execute(_), MemoryKind::Device) => Err(Why::Strict(Strict::DeviceExecute)),
        _ => Ok(()),
    }
}
