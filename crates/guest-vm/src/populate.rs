//! Giving frames to the absent pages of allocated regions.

use alloc::vec::Vec;

use guest_addr::{GuestPhysRange, PAGE_SIZE_4K};
use mapping_flags::MappingFlags;
use nested_page_table::{Format, HostFrames, Level};

use crate::address_space::{AddressSpace, from_to, publish_contents, rest_after};
use crate::error::VmError;
use crate::frames::FrameRun;
use crate::hal::VmHal;
use crate::region::Backing;

const BLOCK_SIZE_2M: u64 = 0x20_0000;

/// Absent pages of one allocated region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hole {
    pub(crate) guest: GuestPhysRange,
    pub(crate) flags: MappingFlags,
}

impl<F: Format, H: VmHal> AddressSpace<F, H> {
    /// Fills every absent page that allocated regions have in `range`, all or none.
    pub(crate) fn populate(&mut self, range: &GuestPhysRange) -> Result<(), VmError> {
        let holes = self.holes(range)?;
        for (index, hole) in holes.iter().enumerate() {
            if let Err(error) = self.fill(hole) {
                self.empty(holes.get(..=index).unwrap_or_default());
                return Err(error);
            }
        }
        Ok(())
    }

    /// Fills `hole`. After an error a part of it may be filled, unless it is one page.
    pub(crate) fn fill(&mut self, hole: &Hole) -> Result<(), VmError> {
        let blocks = H::Frames::PARTIAL_FREE && self.largest_leaf(hole.flags) >= Level::BLOCK_2M;
        let mut edit = self.table.edit();
        let mut rest = Some(hole.guest);
        while let Some(absent) = rest {
            let run = next_run(self.hal.frames(), &absent, blocks)
                .ok_or(VmError::NoFrames { guest: absent })?;
            let memory = run.range()?;
            let guest = GuestPhysRange::from_start_size(absent.start(), memory.size())?;
            publish_contents(&*self.hal, memory, hole.flags);
            edit.map(guest, run.base(), hole.flags)?;
            run.hand_over();
            rest = rest_after(&absent, &guest);
        }
        edit.finish().map_err(VmError::NotInvalidated)
    }

    fn largest_leaf(&self, flags: MappingFlags) -> Level {
        let hardware = self.table.geometry().largest_leaf();
        self.table.leaf_policy().largest_for(flags).min(hardware)
    }

    /// Takes back what was filled in `holes`, tables included.
    fn empty(&mut self, holes: &[Hole]) {
        for hole in holes {
            // Leaves lie wholly inside the hole, so that none is split and nothing is allocated. If
            // it failed all the same, the pages would stay what they are: zeroed memory.
            if let Err(error) = self.unmap_and_free(hole.guest) {
                crate::log::error(format_args!(
                    "fresh guest memory at {} stays mapped: {error}",
                    hole.guest
                ));
            }
        }
        // What stays linked is empty, and goes with the machine at the latest.
        let _ = self.table.edit().reclaim_empty();
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
