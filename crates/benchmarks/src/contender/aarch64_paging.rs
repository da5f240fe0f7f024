//! `aarch64-paging`, in two states: a table that some CPU uses, and one that none does.
#![expect(unsafe_code, reason = "hands the crate frames, and takes them back")]

use std::ptr::{self, NonNull};

use aarch64_paging::descriptor::{PhysicalAddress, Stage2Attributes};
use aarch64_paging::paging::{Constraints, MemoryRegion, Stage2, Translation};
use aarch64_paging::{MapError, Mapping, paging};
use anyhow::Result;
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::contender::{Leaves, PageTable};
use crate::frames;

type Table = paging::PageTable<Stage2Attributes>;

const READ_WRITE: Stage2Attributes = Stage2Attributes::MEMATTR_NORMAL_INNER_WB
    .union(Stage2Attributes::MEMATTR_NORMAL_OUTER_WB)
    .union(Stage2Attributes::S2AP_ACCESS_RW)
    .union(Stage2Attributes::SH_INNER)
    .union(Stage2Attributes::ACCESS_FLAG)
    .union(Stage2Attributes::XN)
    .union(Stage2Attributes::VALID);
const WRITE: Stage2Attributes = Stage2Attributes::S2AP_ACCESS_WO;

/// The stack of frames.
#[derive(Debug)]
struct Frames;

impl Translation<Stage2Attributes> for Frames {
    #[expect(
        clippy::expect_used,
        reason = "the crate knows no failure of an allocation"
    )]
    fn allocate_table(&mut self) -> (NonNull<Table>, PhysicalAddress) {
        let frame = frames::take().expect("the arena is larger than any workload");
        let table = frames::pointer(frame).cast::<Table>();
        // SAFETY: the frame was just taken, and is as long as a table.
        unsafe { ptr::write_bytes(table, 0, 1) };
        let address = PhysicalAddress(frame.as_u64() as usize);
        (self.physical_to_virtual(address), address)
    }

    unsafe fn deallocate_table(&mut self, table: NonNull<Table>) {
        let frame = HostPhysAddr::new(table.as_ptr().expose_provenance() as u64);
        // SAFETY: the caller gives back what `allocate_table` gave, once; pointers are addresses.
        unsafe { frames::give_back(frame) }
    }

    #[inline]
    fn physical_to_virtual(&self, address: PhysicalAddress) -> NonNull<Table> {
        let table = frames::pointer(HostPhysAddr::new(address.0 as u64));
        NonNull::new(table.cast()).unwrap_or(NonNull::dangling())
    }
}

/// A stage-2 table of the crate. `ACTIVE`: some CPU uses it, so that entries are replaced as the
/// architecture wants it.
pub(crate) struct Aarch64Paging<const ACTIVE: bool> {
    mapping: Mapping<Frames, Stage2>,
    constraints: Constraints,
}

#[inline]
fn region(guest: GuestPhysRange) -> MemoryRegion {
    let start = guest.start().as_u64() as usize;
    MemoryRegion::new(start, start + guest.size() as usize)
}

#[inline]
fn page(guest: GuestPhysAddr) -> Result<GuestPhysRange> {
    Ok(GuestPhysRange::from_start_size(guest, PAGE_SIZE_4K)?)
}

impl<const ACTIVE: bool> Aarch64Paging<ACTIVE> {
    #[inline]
    fn set(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        attributes: Stage2Attributes,
    ) -> Result<(), MapError> {
        let host = PhysicalAddress(host.as_u64() as usize);
        self.mapping
            .map_range(&region(guest), host, attributes, self.constraints)
    }

    /// The leaf for `address`: where its page leads, and its attributes.
    #[inline]
    fn leaf(&self, address: GuestPhysAddr) -> Option<(u64, Stage2Attributes)> {
        let page = page(address.align_down_4k()).ok()?;
        let mut found = None;
        let walked = self
            .mapping
            .walk_range(&region(page), &mut |_, descriptor, level| {
                if descriptor.is_valid() {
                    let mask = (1_u64 << (39 - 9 * level)) - 1;
                    let base = descriptor.output_address().0 as u64 & !mask;
                    let offset = address.as_u64() & mask;
                    found = Some((base | offset, descriptor.flags()));
                }
                Ok(())
            });
        walked.ok().and(found)
    }
}

impl<const ACTIVE: bool> PageTable for Aarch64Paging<ACTIVE> {
    const NAME: &'static str = match ACTIVE {
        true => "aarch64-paging/active",
        false => "aarch64-paging",
    };

    fn refuses(workload: &str) -> Option<&'static str> {
        (ACTIVE && workload == "W8").then_some("no huge leaf of an active table is split")
    }

    fn new(leaves: Leaves) -> Result<Self> {
        let mapping = Mapping::new(Frames, 0, Stage2);
        if ACTIVE {
            mapping.mark_active();
        }
        let constraints = match leaves {
            Leaves::Pages => Constraints::NO_BLOCK_MAPPINGS,
            Leaves::Largest => Constraints::empty(),
        };
        Ok(Self {
            mapping,
            constraints: constraints | Constraints::NO_CONTIGUOUS_HINT,
        })
    }

    #[inline(always)]
    fn map(&mut self, guest: GuestPhysRange, host: HostPhysAddr) -> Result<()> {
        Ok(self.set(guest, host, READ_WRITE)?)
    }

    #[inline(always)]
    fn unmap(&mut self, guest: GuestPhysRange) -> Result<()> {
        Ok(self.set(guest, HostPhysAddr::ZERO, Stage2Attributes::empty())?)
    }

    #[inline(always)]
    fn protect(&mut self, guest: GuestPhysRange) -> Result<()> {
        let protected =
            self.mapping
                .modify_range(&region(guest), &|_, entry| match entry.is_table() {
                    true => Ok(()),
                    false => entry.modify_flags(Stage2Attributes::empty(), WRITE),
                });
        Ok(protected?)
    }

    #[inline(always)]
    fn map_page(&mut self, guest: GuestPhysAddr, host: HostPhysAddr) -> Result<()> {
        self.map(page(guest)?, host)
    }

    #[inline(always)]
    fn unmap_page(&mut self, guest: GuestPhysAddr) -> Result<()> {
        self.unmap(page(guest)?)
    }

    #[inline(always)]
    fn translate(&self, address: GuestPhysAddr) -> Option<HostPhysAddr> {
        let (host, _) = self.leaf(address)?;
        Some(HostPhysAddr::new(host))
    }

    fn is_writable(&self, address: GuestPhysAddr) -> Option<bool> {
        let (_, attributes) = self.leaf(address)?;
        Some(attributes.contains(WRITE))
    }
}

impl<const ACTIVE: bool> Drop for Aarch64Paging<ACTIVE> {
    fn drop(&mut self) {
        if ACTIVE {
            self.mapping.mark_inactive();
        }
    }
}
