//! Giving frames to the absent pages of allocated regions.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use guest_addr::{GuestPhysRange, HostPhysAddr, PAGE_SIZE_4K};
use mapping_flags::MappingFlags;
use nested_page_table::{
    AddressSpaceId, Change, Due, Edit, FillError, FillOutcome, Format, HostFrames,
    InvalidatedRange, Invalidation, Level, MapError, Mapping, Scope, TableHost,
};

use crate::address_space::{AddressSpace, from_to, publish_contents, rest_after};
use crate::error::VmError;
use crate::frames::FrameRun;
use crate::hal::VmHal;
use crate::region::Backing;
use crate::vm::Vm;

const BLOCK_SIZE_2M: u64 = 0x20_0000;

/// Absent pages of one allocated region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hole {
    pub(crate) guest: GuestPhysRange,
    pub(crate) flags: MappingFlags,
    /// Whether leaves of 2 MiB are wanted, of frames that can come back one by one.
    blocks: bool,
}

/// Frames that were taken for absent pages, and made ready for the guest.
pub(crate) struct Filling<'a, A: HostFrames> {
    pub(crate) guest: GuestPhysRange,
    pub(crate) run: FrameRun<'a, A>,
    pub(crate) flags: MappingFlags,
}

/// What became of frames that were offered to absent pages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Link {
    /// They are mapped, with what this CPU has to forget.
    Filled(Due),
    /// A leaf is there already: the frames were given back.
    Present(Mapping),
    /// The leaf of 2 MiB has to be smaller: mostly a table is in its place. The frames were given back.
    Divided,
    /// A removal in the range is not finished: [`AddressSpace::settle`] finishes it. The frames were given back.
    Unsettled,
}

impl<F: Format, H: VmHal> Vm<F, H> {
    /// Fills `holes`, under a guest that may be running, if there were `changes` changes of the address space so far. If there
    /// were more, nothing is filled. In any case the caller looks again.
    ///
    /// All frames are taken before the first page is linked, so that nothing is linked where frames are
    /// missing. Should there be no frames for a table later on, the pages that were linked stay: the guest may
    /// have stored to them already.
    pub(crate) fn populate(&self, holes: &[Hole], changes: u64) -> Result<(), VmError> {
        let fillings = self.frames_for(holes)?;
        let space = self.space.read();
        if space.changes() != changes {
            return Ok(());
        }
        for filling in fillings {
            let guest = filling.guest;
            if let Link::Unsettled = space.link_in_parts(filling)? {
                drop(space);
                return self.space.write().settle(guest);
            }
        }
        let id = space.table.space();
        drop(space);
        self.forget_absent(id, holes)
    }

    fn frames_for(&self, holes: &[Hole]) -> Result<Vec<Filling<'_, H::Frames>>, VmError> {
        let mut fillings = Vec::new();
        for hole in holes {
            for_each_filling(&*self.hal, hole, |filling| {
                fillings
                    .try_reserve(1)
                    .map_err(|_| VmError::NoBookkeepingMemory)?;
                fillings.push(filling);
                Ok(())
            })?;
        }
        Ok(fillings)
    }

    /// Has this CPU forget that nothing was in `holes`, where CPUs remember that.
    fn forget_absent(&self, id: AddressSpaceId, holes: &[Hole]) -> Result<(), VmError> {
        let needed = self.format().rules().fresh_needs_invalidation;
        let (Some(first), Some(last)) = (holes.first(), holes.last()) else {
            return Ok(());
        };
        let range = first.guest.hull(&last.guest);
        let Some(range) = range.filter(|_| needed) else {
            return Ok(());
        };
        let fresh = InvalidatedRange {
            range,
            level: None,
            tables: true,
            change: Change::Fresh,
        };
        let request = Invalidation::range(id, Scope::Local, fresh);
        self.hal
            .invalidate(&request)
            .map_err(VmError::NotInvalidated)
    }
}

impl<F: Format, H: VmHal> AddressSpace<F, H> {
    /// Puts frames where nothing is, beside other CPUs that do the same.
    pub(crate) fn link(&self, filling: Filling<'_, H::Frames>) -> Result<Link, VmError> {
        let Filling { guest, run, flags } = filling;
        let filled = run.hand_over_to(|base| match self.table.fill(guest, base, flags) {
            Ok(FillOutcome::Filled(due)) => Ok(due),
            Ok(FillOutcome::Present(leaf)) => Err(Ok(Link::Present(leaf))),
            Ok(FillOutcome::Divided) | Err(FillError::TooLarge { .. }) => Err(Ok(Link::Divided)),
            // The machine splits nothing through a shared reference: it is a leaf that waits to be reported.
            Ok(FillOutcome::Busy) | Err(FillError::Unsettled) => Err(Ok(Link::Unsettled)),
            Err(reason) => Err(Err(map_error(guest, reason).into())),
        });
        match filled {
            Ok(due) => Ok(Link::Filled(due)),
            Err(link) => link,
        }
    }

    /// [`link`](Self::link), page by page where 2 MiB meet a table.
    fn link_in_parts(&self, filling: Filling<'_, H::Frames>) -> Result<Link, VmError> {
        let Filling { guest, run, flags } = filling;
        if guest.size() == PAGE_SIZE_4K || !self.is_divided(&guest) {
            return self.link(Filling { guest, run, flags });
        }
        let mut rest = Some(guest);
        let mut last = Link::Divided;
        for run in run.into_pages() {
            let Some(pages) = rest else { break };
            let (guest, behind) = pages.split_first_block(Level::PAGE_4K.shift());
            rest = behind;
            last = self.link(Filling { guest, run, flags })?;
            if let Link::Unsettled = last {
                break;
            }
        }
        Ok(last)
    }

    /// Fills `hole`. After an error a part of it is filled, unless it is one page.
    pub(crate) fn fill(&mut self, hole: &Hole) -> Result<(), VmError> {
        let Self { hal, table, .. } = self;
        let mut edit = table.edit();
        for_each_filling(&**hal, hole, |filling| filling.map(&mut edit))?;
        edit.finish().map_err(VmError::NotInvalidated)
    }

    /// Fills every absent page that allocated regions have in `range`, before the guest runs: after an error a
    /// part is filled.
    pub(crate) fn populate_at_set_up(&mut self, range: &GuestPhysRange) -> Result<(), VmError> {
        let holes = self.holes(range)?;
        holes.iter().try_for_each(|hole| self.fill(hole))
    }

    /// The absent pages that allocated regions have in `range`.
    pub(crate) fn holes(&self, range: &GuestPhysRange) -> Result<Vec<Hole>, VmError> {
        let mut holes = Holes::default();
        for region in self.regions.overlapping(range) {
            let Some(part) = region.guest.intersection(range) else {
                continue;
            };
            if let Backing::Allocated { .. } = region.backing {
                self.collect_holes(part, region.flags, &mut holes);
            }
        }
        if holes.out_of_memory {
            return Err(VmError::NoBookkeepingMemory);
        }
        Ok(holes.list)
    }

    /// Whether leaves of 2 MiB are wanted, of frames that can come back one by one.
    pub(crate) fn takes_blocks(&self, flags: MappingFlags) -> bool {
        let hardware = self.table.geometry().largest_leaf();
        let policy = self.table.leaf_policy();
        let largest = policy.largest_for(flags).min(hardware);
        H::Frames::PARTIAL_FREE && largest >= Level::BLOCK_2M
    }

    /// Whether some of `block` is mapped, or a table is there.
    fn is_divided(&self, block: &GuestPhysRange) -> bool {
        let visited = self.table.visit_entries(*block, |entry| match entry.level {
            level if level > Level::BLOCK_2M => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        });
        visited.is_break()
    }

    fn collect_holes(&self, part: GuestPhysRange, flags: MappingFlags, holes: &mut Holes) {
        let blocks = self.takes_blocks(flags);
        let mut rest = Some(part);
        self.table.visit(part, |leaf| {
            let Some(unseen) = rest else { return };
            let before = leaf.guest.start().checked_sub(1);
            if let Some(guest) = before.and_then(|last| from_to(unseen.start(), last)) {
                holes.push(Hole {
                    guest,
                    flags,
                    blocks,
                });
            }
            rest = rest_after(&unseen, &leaf.guest);
        });
        if let Some(guest) = rest {
            holes.push(Hole {
                guest,
                flags,
                blocks,
            });
        }
    }
}

#[derive(Debug, Default)]
struct Holes {
    list: Vec<Hole>,
    out_of_memory: bool,
}

impl Holes {
    fn push(&mut self, hole: Hole) {
        if self.list.try_reserve(1).is_ok() {
            self.list.push(hole);
        } else {
            self.out_of_memory = true;
        }
    }
}

impl<A: HostFrames> Filling<'_, A> {
    /// Maps the frames, which the guest may use from then on.
    fn map<F: Format, H: TableHost>(self, edit: &mut Edit<'_, F, H>) -> Result<(), VmError> {
        let Self { guest, run, flags } = self;
        Ok(run.hand_over_to(|base| edit.map(guest, base, flags))?)
    }
}

/// The error of an edit that says the same.
fn map_error(guest: GuestPhysRange, reason: FillError) -> MapError {
    match reason {
        FillError::GuestTooWide { guest, bits } => MapError::GuestTooWide { guest, bits },
        FillError::HostTooWide { host, size, bits } => MapError::HostTooWide { host, size, bits },
        FillError::Flags(reason) => MapError::Flags(reason),
        FillError::OutOfMemory { frames } => MapError::OutOfMemory { frames },
        FillError::NotALeaf { guest, host } => MapError::Unaligned { guest, host },
        // The others say that the range cannot have a leaf of its size.
        _ => MapError::Unaligned {
            guest,
            host: HostPhysAddr::ZERO,
        },
    }
}

/// Takes zeroed frames for all of `hole`, and calls `each` with them in order, when their contents are
/// visible to the guest.
fn for_each_filling<'a, H: VmHal>(
    hal: &'a H,
    hole: &Hole,
    mut each: impl FnMut(Filling<'a, H::Frames>) -> Result<(), VmError>,
) -> Result<(), VmError> {
    let flags = hole.flags;
    let mut rest = Some(hole.guest);
    while let Some(absent) = rest {
        let run = next_run(hal.frames(), &absent, hole.blocks);
        let run = run.ok_or(VmError::NoFrames { guest: absent })?;
        let memory = run.range()?;
        let guest = GuestPhysRange::from_start_size(absent.start(), memory.size())?;
        publish_contents(hal, memory, flags);
        each(Filling { guest, run, flags })?;
        rest = rest_after(&absent, &guest);
    }
    Ok(())
}

/// Zeroed frames for the first bytes of `absent`: 2 MiB where they fit and are to be had, else 4
/// KiB.
fn next_run<'a, A: HostFrames>(
    frames: &'a A,
    absent: &GuestPhysRange,
    blocks: bool,
) -> Option<FrameRun<'a, A>> {
    let aligned = absent
        .start()
        .has_zero_low_bits(BLOCK_SIZE_2M.trailing_zeros());
    let block = (blocks && aligned && absent.size() >= BLOCK_SIZE_2M)
        .then(|| FrameRun::zeroed(frames, BLOCK_SIZE_2M, BLOCK_SIZE_2M));
    block
        .flatten()
        .or_else(|| FrameRun::zeroed(frames, PAGE_SIZE_4K, PAGE_SIZE_4K))
}
