//! The virtual address translation process, applied to the G-stage.

use core::ops::ControlFlow;

use guest_addr::{GuestPhysAddr, HostPhysAddr};

use super::config::GStage;
use super::fault::{Fault, Why};
use super::pte::{A, Attributes, D};
use crate::access::Access;
use crate::bits::{field, mask};
use crate::memory::PhysicalMemory;
use crate::mmu::NestedMmu;
use crate::regions::{Entry, Region, Tables, visit_table};
use crate::walk::{Steps, Translation, Walk};

impl NestedMmu for GStage {
    type Attributes = Attributes;
    type Fault = Fault;
    type Why = Why;

    fn input_bits(&self) -> u32 {
        // Figures "Sv39x4 guest physical address" and the two after it.
        match self.levels {
            3 => 41,
            4 => 50,
            _ => 59,
        }
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

impl GStage {
    fn translate<M: PhysicalMemory + ?Sized>(
        &self,
        memory: &M,
        gpa: GuestPhysAddr,
        access: Access,
        steps: &mut Steps,
    ) -> Result<Translation<Attributes>, Fault> {
        let mut i = self.levels - 1;
        let fault = |level, why| Fault { access, level, why };
        if !gpa.fits_in(self.input_bits()) {
            return Err(fault(i, Why::AddressWidth));
        }
        // Step 1, with hgatp for satp.
        let mut a = self.root;
        loop {
            // Step 2; PTESIZE is 8.
            let entry = HostPhysAddr::new(a.as_u64() | (self.vpn(gpa, i) << 3));
            let pte = memory.read(entry);
            let pte = pte.ok_or_else(|| fault(i, Why::AccessFault))?;
            steps.push(i, entry, pte);
            match self.decode_pte(i, pte) {
                Entry::Absent => return Err(fault(i, Why::NotValid)),
                Entry::Illegal(why) => return Err(fault(i, why)),
                Entry::Table { address, level, .. } => (a, i) = (address, level),
                Entry::Leaf(leaf) => {
                    let granted = self.check_leaf(&leaf, access);
                    granted.map_err(|why| fault(i, why))?;
                    self.record_accessed_and_dirty(access, steps);
                    return Ok(leaf.at(gpa));
                }
            }
        }
    }

    /// vpn\[i\] of the figures in "Guest Physical Address Translation": 9 bits each, 11 at the root.
    fn vpn(&self, gpa: GuestPhysAddr, i: u8) -> u64 {
        let gpa = gpa.as_u64();
        match i {
            _ if i + 1 == self.levels => gpa >> (12 + 9 * u32::from(i)),
            0 => field(gpa, 20, 12),
            1 => field(gpa, 29, 21),
            2 => field(gpa, 38, 30),
            _ => field(gpa, 47, 39),
        }
    }

    /// The last steps of VATP before the address is put together: permissions, then A and D.
    fn check_leaf(&self, leaf: &Translation<Attributes>, access: Access) -> Result<(), Why> {
        if !leaf.permissions.allow(access) {
            return Err(Why::Permission);
        }
        if self.features.adue {
            return Ok(());
        }
        if leaf.accessed == Some(false) {
            return Err(Why::AccessedClear);
        }
        if access == Access::Write && leaf.dirty == Some(false) {
            return Err(Why::DirtyClear);
        }
        Ok(())
    }

    /// Svadu: the leaf's A is set, and its D if the access is a store. Non-leaf PTEs have neither.
    fn record_accessed_and_dirty(&self, access: Access, steps: &mut Steps) {
        let dirty = if access == Access::Write {
            mask(D, D)
        } else {
            0
        };
        steps.record_updates(|pte, is_leaf| match is_leaf {
            true => pte | mask(A, A) | dirty,
            false => pte,
        });
    }
}
