//! `aarch64-paging`, in two states: a table that some CPU uses, and one that none does.
#![expect(unsafe_code, reason = "hands the crate frames, and takes them back")]

use std::cell::RefCell;
use std::ptr::{self, NonNull};

use aarch64_paging::descriptor::{Descriptor, PhysicalAddress, Stage2Attributes};
use aarch64_paging::paging::{Constraints, MemoryRegion, Stage2, Translation};
use aarch64_paging::{MapError, Mapping, paging};
use anyhow::Result;
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::contender::{ALL_ACCESS, Access, Leaf, Leaves, PageTable, Promises, page};
use crate::frames;

type Table = paging::PageTable<Stage2Attributes>;

/// A leaf that nothing may be done with.
const PRESENT: Stage2Attributes = Stage2Attributes::MEMATTR_NORMAL_INNER_WB
    .union(Stage2Attributes::MEMATTR_NORMAL_OUTER_WB)
    .union(Stage2Attributes::SH_INNER)
    .union(Stage2Attributes::ACCESS_FLAG)
    .union(Stage2Attributes::VALID);
/// What says what a guest may do.
const PERMISSIONS: Stage2Attributes = Stage2Attributes::S2AP_ACCESS_RW.union(Stage2Attributes::XN);

/// What a guest may do, as the crate says it.
#[inline(always)]
const fn permissions(access: Access) -> Stage2Attributes {
    match access {
        Access::Read => Stage2Attributes::S2AP_ACCESS_RO.union(Stage2Attributes::XN),
        Access::ReadExecute => Stage2Attributes::S2AP_ACCESS_RO,
        Access::ReadWrite => Stage2Attributes::S2AP_ACCESS_RW.union(Stage2Attributes::XN),
        Access::ReadWriteExecute => Stage2Attributes::S2AP_ACCESS_RW,
    }
}

/// The leaf that `descriptor` at `level` is, if it is one.
#[inline(always)]
fn leaf(descriptor: &Descriptor<Stage2Attributes>, level: usize) -> Option<Leaf> {
    let is_table = level < 3 && descriptor.is_table_or_page();
    (descriptor.is_valid() && !is_table).then(|| Leaf {
        host: HostPhysAddr::new(descriptor.output_address().0 as u64),
        bytes: 1 << (39 - 9 * level),
        flags: descriptor.flags().bits() as u64,
    })
}

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
}

impl<const ACTIVE: bool> PageTable for Aarch64Paging<ACTIVE> {
    const NAME: &'static str = match ACTIVE {
        true => "aarch64-paging/active",
        false => "aarch64-paging",
    };
    const PROMISES: Promises = match ACTIVE {
        true => Promises::Live,
        false => Promises::Unused,
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
    fn map(&mut self, guest: GuestPhysRange, host: HostPhysAddr, access: Access) -> Result<()> {
        Ok(self.set(guest, host, PRESENT | permissions(access))?)
    }

    #[inline(always)]
    fn unmap(&mut self, guest: GuestPhysRange) -> Result<()> {
        Ok(self.set(guest, HostPhysAddr::ZERO, Stage2Attributes::empty())?)
    }

    /// One pass that reads and clears; two for an active table, where the function is called more than
    /// once for each leaf. What is reported may be used after the invalidation.
    #[inline(always)]
    fn unmap_reporting(
        &mut self,
        guest: GuestPhysRange,
        mut report: impl FnMut(Leaf),
    ) -> Result<()> {
        if ACTIVE {
            let mut leaves = Vec::new();
            self.visit(guest, |leaf| leaves.push(leaf))?;
            self.unmap(guest)?;
            leaves.into_iter().for_each(&mut report);
            return Ok(());
        }
        let report = RefCell::new(report);
        let unmapped = self.mapping.modify_range(&region(guest), &|_, entry| {
            if entry.is_table() || !entry.flags().contains(Stage2Attributes::VALID) {
                return Ok(());
            }
            (report.borrow_mut())(Leaf {
                host: HostPhysAddr::new(entry.output_address().0 as u64),
                bytes: 1 << (39 - 9 * entry.level()),
                flags: entry.flags().bits() as u64,
            });
            entry.set(PhysicalAddress(0), Stage2Attributes::empty())
        });
        Ok(unmapped?)
    }

    #[inline(always)]
    fn protect(&mut self, guest: GuestPhysRange, access: Access) -> Result<()> {
        let permissions = permissions(access);
        let protected =
            self.mapping
                .modify_range(&region(guest), &|_, entry| match entry.is_table()
                    || !entry.flags().contains(Stage2Attributes::VALID)
                {
                    true => Ok(()),
                    false => entry.modify_flags(permissions, PERMISSIONS & !permissions),
                });
        Ok(protected?)
    }

    #[inline(always)]
    fn translate(&self, address: GuestPhysAddr) -> Option<Leaf> {
        let page = page(address.align_down_4k()).ok()?;
        let mut found = None;
        let walked = self
            .mapping
            .walk_range(&region(page), &mut |_, descriptor, level| {
                found = leaf(descriptor, level);
                Ok(())
            });
        let leaf = walked.ok().and(found)?;
        let offset = address.as_u64() & (leaf.bytes - 1);
        Some(Leaf {
            host: HostPhysAddr::new(leaf.host.as_u64() | offset),
            ..leaf
        })
    }

    #[inline(always)]
    fn visit(&self, guest: GuestPhysRange, mut visitor: impl FnMut(Leaf)) -> Result<()> {
        let walked = self
            .mapping
            .walk_range(&region(guest), &mut |_, descriptor, level| {
                if let Some(leaf) = leaf(descriptor, level) {
                    visitor(leaf);
                }
                Ok(())
            });
        Ok(walked?)
    }

    fn access(flags: u64) -> Option<Access> {
        let found = Stage2Attributes::from_bits_retain(flags as usize) & PERMISSIONS;
        ALL_ACCESS
            .into_iter()
            .find(|access| permissions(*access) == found)
    }
}

impl<const ACTIVE: bool> Drop for Aarch64Paging<ACTIVE> {
    fn drop(&mut self) {
        if ACTIVE {
            self.mapping.mark_inactive();
        }
    }
}
