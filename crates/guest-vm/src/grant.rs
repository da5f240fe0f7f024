//! Asking the host before a guest gets memory that the host named.

use guest_addr::{GuestPhysRange, HostPhysAddr, HostPhysRange};
use nested_page_table::Format;
use region_planner::{Mapping, RegionKind};

use crate::address_space::AddressSpace;
use crate::error::VmError;
use crate::guest_use::{GuestUse, HostMemoryKind};
use crate::hal::VmHal;

impl<F: Format, H: VmHal> AddressSpace<F, H> {
    /// Fails unless the host lets the guest have `range`.
    pub(crate) fn require_grant(
        &self,
        range: HostPhysRange,
        r#use: GuestUse,
    ) -> Result<(), VmError> {
        match self.hal.grants(range, r#use) {
            true => Ok(()),
            false => Err(VmError::NotGranted { range, r#use }),
        }
    }

    /// Asks for the host memory of `mapping`, which begins at `host`.
    ///
    /// Each region is asked for by itself, so that a host which lists its devices one by one finds the
    /// device. The pages of the regions together are those of the mapping.
    pub(crate) fn require_grants(
        &self,
        mapping: &Mapping<'_, '_>,
        host: HostPhysAddr,
    ) -> Result<(), VmError> {
        let r#use = match mapping.kind() {
            RegionKind::Identical => GuestUse::IdenticalRam,
            RegionKind::Reserved => GuestUse::ReservedRam,
            _ => GuestUse::Passthrough(HostMemoryKind::of(mapping.flags())),
        };
        for source in mapping.sources() {
            let Some(bytes) = source.requested() else {
                continue;
            };
            // A device tree's region has lost pages to RAM: they belong to another mapping, or to none.
            let pages = bytes.align_outward_4k()?;
            if let Some(part) = pages.intersection(&mapping.guest()) {
                self.require_grant(host_part(mapping.guest(), host, &part)?, r#use)?;
            }
        }
        Ok(())
    }
}

/// Where `part` of `guest` leads if `guest` leads to the addresses from `host` on.
fn host_part(
    guest: GuestPhysRange,
    host: HostPhysAddr,
    part: &GuestPhysRange,
) -> Result<HostPhysRange, VmError> {
    let offset = part.start().as_u64().saturating_sub(guest.start().as_u64());
    let size = offset.saturating_add(part.size());
    let up_to_part = HostPhysRange::from_start_size(host, size)?;
    let start = host.checked_add(offset).unwrap_or(host);
    Ok(HostPhysRange::from_start_last(start, up_to_part.last())?)
}
