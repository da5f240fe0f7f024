//! Giving frames to the absent pages of allocated regions.

use alloc::vec::Vec;

use guest_addr::{GuestPhysRange, PAGE_SIZE_4K};
use mapping_flags::MappingFlags;
use nested_page_table::{Edit, Format, HostFrames, Level, NestedPageTable, TableHost};

use crate::address_space::{AddressSpace, from_to, publish_contents, rest_after};
use crate::error::VmError;
use crate::frames::FrameRun;
use crate::hal::{HalTableHost, VmHal};
use crate::region::Backing;

const BLOCK_SIZE_2M: u64 = 0x20_0000;

/// Absent pages of one allocated region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hole {
    pub(crate) guest: GuestPhysRange,
    pub(crate) flags: MappingFlags,
}

/// Frames that were taken for absent pages, and made ready for the guest.
struct Filling<'a, A: HostFrames> {
    guest: GuestPhysRange,
    run: FrameRun<'a, A>,
    flags: MappingFlags,
}

impl<F: Format, H: VmHal> AddressSpace<F, H> {
    /// Fills every absent page that allocated regions have in `range`, under a guest that may be running.
    ///
    /// All frames are taken before the first page is linked, so that nothing is linked where frames are
    /// missing. Should there be no frames for a table later on, the pages that were linked stay: the guest may
    /// have stored to them already.
    pub(crate) fn populate(&mut self, range: &GuestPhysRange) -> Result<(), VmError> {
        let holes = self.holes(range)?;
        if holes.is_empty() {
            return Ok(());
        }
        let Self { hal, table, .. } = self;
        let mut fillings = Vec::new();
        for hole in &holes {
            let blocks = takes_blocks::<F, H>(table, hole.flags);
            for_each_filling(&**hal, hole, blocks, |filling| {
                fillings
                    .try_reserve(1)
                    .map_err(|_| VmError::NoBookkeepingMemory)?;
                fillings.push(filling);
                Ok(())
            })?;
        }
        let mut edit = table.edit();
        for filling in fillings {
            filling.link(&mut edit)?;
        }
        edit.finish().map_err(VmError::NotInvalidated)
    }

    /// Fills `hole`. After an error a part of it is filled, unless it is one page.
    pub(crate) fn fill(&mut self, hole: &Hole) -> Result<(), VmError> {
        let Self { hal, table, .. } = self;
        let blocks = takes_blocks::<F, H>(table, hole.flags);
        let mut edit = table.edit();
        for_each_filling(&**hal, hole, blocks, |filling| filling.link(&mut edit))?;
        edit.finish().map_err(VmError::NotInvalidated)
    }

    /// Fills every absent page that allocated regions have in `range`, before the guest runs: after an error a
    /// part is filled.
    pub(crate) fn populate_at_set_up(&mut self, range: &GuestPhysRange) -> Result<(), VmError> {
        let holes = self.holes(range)?;
        holes.iter().try_for_each(|hole| self.fill(hole))
    }

    fn holes(&self, range: &GuestPhysRange) -> Result<Vec<Hole>, VmError> {
        let mut holes = Holes::default();
        for region in self.regions.overlapping(range) {
            let Some(part) = region.guest.intersection(range) else {
                continue;
            };
            if region.backing == Backing::Allocated {
                self.collect_holes(part, region.flags, &mut holes);
            }
        }
        if holes.out_of_memory {
            return Err(VmError::NoBookkeepingMemory);
        }
        Ok(holes.list)
    }

    fn collect_holes(&self, part: GuestPhysRange, flags: MappingFlags, holes: &mut Holes) {
        let mut rest = Some(part);
        self.table.visit(part, |leaf| {
            let Some(unseen) = rest else { return };
            let before = leaf.guest.start().checked_sub(1);
            if let Some(guest) = before.and_then(|last| from_to(unseen.start(), last)) {
                holes.push(Hole { guest, flags });
            }
            rest = rest_after(&unseen, &leaf.guest);
        });
        if let Some(guest) = rest {
            holes.push(Hole { guest, flags });
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
    fn link<F: Format, H: TableHost>(self, edit: &mut Edit<'_, F, H>) -> Result<(), VmError> {
        let Self { guest, run, flags } = self;
        Ok(run.hand_over_to(|base| edit.map(guest, base, flags))?)
    }
}

/// Whether leaves of 2 MiB are wanted, of frames that can come back one by one.
fn takes_blocks<F: Format, H: VmHal>(
    table: &NestedPageTable<F, HalTableHost<H>>,
    flags: MappingFlags,
) -> bool {
    let hardware = table.geometry().largest_leaf();
    let largest = table.leaf_policy().largest_for(flags).min(hardware);
    H::Frames::PARTIAL_FREE && largest >= Level::BLOCK_2M
}

/// Takes zeroed frames for all of `hole`, and calls `each` with them in order, when their contents are
/// visible to the guest.
fn for_each_filling<'a, H: VmHal>(
    hal: &'a H,
    hole: &Hole,
    blocks: bool,
    mut each: impl FnMut(Filling<'a, H::Frames>) -> Result<(), VmError>,
) -> Result<(), VmError> {
    let flags = hole.flags;
    let mut rest = Some(hole.guest);
    while let Some(absent) = rest {
        let run = next_run(hal.frames(), &absent, blocks);
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
