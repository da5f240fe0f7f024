//! Guest accesses that the hardware could not translate.

use guest_addr::{GuestPhysAddr, GuestPhysRange, PAGE_SIZE_4K};
use mapping_flags::MappingFlags;
use nested_page_table::{Change, Format, InvalidatedRange, Invalidation, Mapping, Scope};

use crate::address_space::AddressSpace;
use crate::error::VmError;
use crate::hal::VmHal;
use crate::populate::Hole;
use crate::region::Backing;

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultOutcome {
    /// The page was absent and has a frame now: re-enter the guest.
    Filled,
    /// The page was there already and permits the access: another CPU was faster, or this CPU
    /// remembered an older state, which it has forgotten now. No mapping changed. Re-enter the
    /// guest.
    Spurious,
    /// There is memory, and the guest may not do this with it.
    Denied,
    /// There is no memory: an emulated device, or a guest that went astray.
    NotMapped,
    /// Another CPU is changing the address space, so nothing can be said: re-enter the guest, which
    /// takes pending interrupts on the way and faults again if need be.
    Retry,
}

impl<F: Format, H: VmHal> AddressSpace<F, H> {
    pub(crate) fn handle_fault(
        &mut self,
        address: GuestPhysAddr,
        access: MappingFlags,
    ) -> Result<FaultOutcome, VmError> {
        let outcome = self.resolve_fault(address, access);
        self.faults.count(address, &outcome);
        outcome
    }

    fn resolve_fault(
        &mut self,
        address: GuestPhysAddr,
        access: MappingFlags,
    ) -> Result<FaultOutcome, VmError> {
        if !access.intersects(MappingFlags::ACCESS) {
            return Err(VmError::NoAccess { address, access });
        }
        let access = self.needed_flags(access);
        if let Some(leaf) = self.table.translate(address) {
            return self.handle_present(&leaf, access);
        }
        let region = self.regions.find(address);
        let Some(region) = region.filter(|region| region.backing == Backing::Allocated) else {
            return Ok(FaultOutcome::NotMapped);
        };
        if !region.flags.contains(access) {
            return Ok(FaultOutcome::Denied);
        }
        let hole = Hole {
            guest: GuestPhysRange::from_start_size(address.align_down_4k(), PAGE_SIZE_4K)?,
            flags: region.flags,
        };
        self.fill(&hole)?;
        Ok(FaultOutcome::Filled)
    }

    /// The flags that a leaf must have to permit `access`.
    fn needed_flags(&self, access: MappingFlags) -> MappingFlags {
        let fetch_by_user = MappingFlags::EXECUTE.union(MappingFlags::USER);
        let counts =
            access.contains(fetch_by_user) && self.table.format().restricts_user_execution();
        match counts {
            true => access.intersection(MappingFlags::PERMISSIONS),
            false => access.intersection(MappingFlags::ACCESS),
        }
    }

    fn handle_present(
        &self,
        leaf: &Mapping,
        access: MappingFlags,
    ) -> Result<FaultOutcome, VmError> {
        if !leaf.flags.contains(access) {
            return Ok(FaultOutcome::Denied);
        }
        // Where absent entries may be cached, the one that this CPU remembers may be a table's.
        let tables = self.table.format().rules().fresh_needs_invalidation;
        let stale = InvalidatedRange {
            range: leaf.guest,
            level: (!tables).then_some(leaf.level),
            tables,
            change: Change::Raised,
        };
        let request = Invalidation::range(self.table.space(), Scope::Local, stale);
        self.hal
            .invalidate(&request)
            .map_err(VmError::NotInvalidated)?;
        Ok(FaultOutcome::Spurious)
    }
}
