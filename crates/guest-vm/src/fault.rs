//! Guest accesses that the hardware could not translate.
//!
//! Faults run at once, and beside copies. A fault looks at its page under the read side of the lock, takes and clears frames
//! without it, and links them by [`NestedPageTable::fill`](nested_page_table::NestedPageTable::fill) under the read side again,
//! if nobody changed the address space meanwhile. It never waits: where a writer is there, or waits, the answer is `Retry`.

use guest_addr::{GuestPhysAddr, GuestPhysRange, PAGE_SIZE_4K};
use mapping_flags::MappingFlags;
use nested_page_table::{
    AddressSpaceId, Change, Format, InvalidatedRange, Invalidation, Level, Mapping, Scope,
};

use crate::address_space::{AddressSpace, publish_contents};
use crate::error::VmError;
use crate::fault_statistics::add;
use crate::frames::FrameRun;
use crate::hal::VmHal;
use crate::populate::{Filling, Link};
use crate::region::Backing;
use crate::vm::Vm;

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

/// What a fault found at its page.
enum Found {
    /// Nothing is to be done.
    Outcome(FaultOutcome),
    /// A leaf that permits the access.
    Present(Mapping),
    /// Memory that has no frame yet.
    Absent(Absent),
}

/// An absent page of allocated memory, and what may be filled with it.
struct Absent {
    page: GuestPhysRange,
    /// The 2 MiB around it, if they may be one leaf.
    block: Option<GuestPhysRange>,
    /// The pages around it, itself included, that the region has filled together.
    window: GuestPhysRange,
    flags: MappingFlags,
    space: AddressSpaceId,
}

impl<F: Format, H: VmHal> Vm<F, H> {
    pub(crate) fn resolve_fault(
        &self,
        address: GuestPhysAddr,
        access: MappingFlags,
    ) -> Result<FaultOutcome, VmError> {
        if !access.intersects(MappingFlags::ACCESS) {
            return Err(VmError::NoAccess { address, access });
        }
        let Some(space) = self.space.try_read() else {
            return Ok(FaultOutcome::Retry);
        };
        let (found, changes) = (space.look_up(address, access)?, space.changes());
        let id = space.table.space();
        drop(space);
        match found {
            Found::Outcome(outcome) => Ok(outcome),
            Found::Present(leaf) => self.forget_absence(id, &leaf),
            Found::Absent(absent) => self.fill_absent(&absent, changes),
        }
    }

    /// Has this CPU forget what it remembers of `leaf`.
    fn forget_absence(&self, id: AddressSpaceId, leaf: &Mapping) -> Result<FaultOutcome, VmError> {
        // Where absent entries may be cached, the one that this CPU remembers may be a table's.
        let tables = self.format().rules().fresh_needs_invalidation;
        let stale = InvalidatedRange {
            range: leaf.guest,
            level: (!tables).then_some(leaf.level),
            tables,
            change: Change::Raised,
        };
        let request = Invalidation::range(id, Scope::Local, stale);
        self.hal
            .invalidate(&request)
            .map_err(VmError::NotInvalidated)?;
        Ok(FaultOutcome::Spurious)
    }

    /// Fills an absent page with the largest leaf that is wanted and to be had, if there were as many changes of the address
    /// space as when it was found.
    fn fill_absent(&self, absent: &Absent, changes: u64) -> Result<FaultOutcome, VmError> {
        if let Some(block) = absent.block
            && let Some(run) = FrameRun::zeroed(self.hal.frames(), block.size(), block.size())
        {
            match self.fill_leaf(run, block, absent, changes)? {
                Some(Link::Filled(_)) => {
                    add(&self.faults.filled_2m, 1);
                    return Ok(FaultOutcome::Filled);
                }
                // Some of it is there, in pages.
                Some(Link::Divided) => {}
                other => return self.outcome(other, absent),
            }
        }
        let page = absent.page;
        let run = FrameRun::zeroed(self.hal.frames(), PAGE_SIZE_4K, PAGE_SIZE_4K);
        let run = run.ok_or(VmError::NoFrames { guest: page })?;
        let link = self.fill_leaf(run, page, absent, changes)?;
        if let Some(Link::Filled(_)) = link {
            add(&self.faults.filled_4k, 1);
            self.fill_around(absent, changes);
        }
        self.outcome(link, absent)
    }

    /// Links a run of zeroed frames at `guest`. Nothing if a writer came.
    fn fill_leaf(
        &self,
        run: FrameRun<'_, H::Frames>,
        guest: GuestPhysRange,
        absent: &Absent,
        changes: u64,
    ) -> Result<Option<Link>, VmError> {
        let flags = absent.flags;
        publish_contents(&*self.hal, run.range()?, flags);
        let filling = Filling { guest, run, flags };
        let space = self.space.try_read();
        let Some(space) = space.filter(|space| space.changes() == changes) else {
            return Ok(None);
        };
        let link = space.link(filling)?;
        if let Link::Filled(due) = link {
            space
                .table
                .invalidate_due(due)
                .map_err(VmError::NotInvalidated)?;
        }
        Ok(Some(link))
    }

    /// Fills what is absent around a page that was filled. The fault needs none of it: the first obstacle ends it.
    fn fill_around(&self, absent: &Absent, changes: u64) {
        let mut rest = Some(absent.window);
        while let Some(pages) = rest {
            let (guest, behind) = pages.split_first_block(Level::PAGE_4K.shift());
            rest = behind;
            if guest == absent.page {
                continue;
            }
            let Some(space) = self.space.try_read() else {
                return;
            };
            let is_present = space.table.host_of(guest.start()).is_some();
            drop(space);
            if is_present {
                continue;
            }
            let frames = self.hal.frames();
            let Some(run) = FrameRun::zeroed(frames, PAGE_SIZE_4K, PAGE_SIZE_4K) else {
                return;
            };
            match self.fill_leaf(run, guest, absent, changes) {
                Ok(Some(Link::Filled(_))) => add(&self.faults.filled_4k, 1),
                Ok(Some(Link::Present(_))) => {}
                _ => return,
            }
        }
    }

    /// What a fault comes to whose page was offered a frame.
    fn outcome(&self, link: Option<Link>, absent: &Absent) -> Result<FaultOutcome, VmError> {
        match link {
            Some(Link::Filled(_)) => Ok(FaultOutcome::Filled),
            // Another CPU was faster.
            Some(Link::Present(leaf)) => self.forget_absence(absent.space, &leaf),
            None | Some(Link::Divided) => Ok(FaultOutcome::Retry),
            Some(Link::Unsettled) => {
                if let Some(mut space) = self.space.try_write() {
                    space.settle(absent.page)?;
                }
                Ok(FaultOutcome::Retry)
            }
        }
    }
}

impl<F: Format, H: VmHal> AddressSpace<F, H> {
    fn look_up(&self, address: GuestPhysAddr, access: MappingFlags) -> Result<Found, VmError> {
        let access = self.needed_flags(access);
        if let Some(leaf) = self.table.translate(address) {
            return Ok(match leaf.flags.contains(access) {
                true => Found::Present(leaf),
                false => Found::Outcome(FaultOutcome::Denied),
            });
        }
        let Some(region) = self.regions.find(address) else {
            return Ok(Found::Outcome(FaultOutcome::NotMapped));
        };
        let Backing::Allocated { around } = region.backing else {
            return Ok(Found::Outcome(FaultOutcome::NotMapped));
        };
        if !region.flags.contains(access) {
            return Ok(Found::Outcome(FaultOutcome::Denied));
        }
        let window = GuestPhysRange::block_at(address, around.order());
        let block = GuestPhysRange::block_at(address, Level::BLOCK_2M.shift());
        let wants_block = window == block
            && region.guest.contains_range(&block)
            && self.takes_blocks(region.flags);
        let page = GuestPhysRange::block_at(address, Level::PAGE_4K.shift());
        let pages = if window == block { page } else { window };
        Ok(Found::Absent(Absent {
            page,
            block: wants_block.then_some(block),
            // The page is in both.
            window: pages.intersection(&region.guest).unwrap_or(page),
            flags: region.flags,
            space: self.table.space(),
        }))
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
}
