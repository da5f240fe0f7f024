//! A nested page table and everything that only reads it.
#![expect(
    unsafe_code,
    reason = "clears a new root, or gives it back where it cannot be used, and the whole tree"
)]

use core::fmt;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags;

use crate::edit::Edit;
use crate::entry::Entry;
use crate::error::{MapError, NewTableError, ProtectError, UnmapError};
use crate::format::Format;
use crate::frames::HostFrames;
use crate::gather::Gather;
use crate::geometry::Geometry;
use crate::host::TableHost;
use crate::invalidation::AddressSpaceId;
use crate::mapping::{Mapping, UnmappedLeaf};
use crate::one_page::removed_page;
use crate::policy::LeafPolicy;
use crate::release;
use crate::tables::Tables;
use crate::words::{self, FRAME_WORDS};

/// A nested page table in the format `F`, with frames and invalidation from `H`.
///
/// The table owns the frames of its own tables and never those that its leaves lead to.
///
/// - **All or nothing.** An operation that returns an error has changed no entry and kept no frame.
/// - **Exact.** An operation changes the range it was given and nothing else; it never rounds.
/// - **Invalidation is gathered.** Changes are made through an [`Edit`]; the table's own `map`,
///   `unmap` and `protect` are edits of one operation.
/// - **Nothing comes back early.** A table frame returns to `H` after the invalidation that covers
///   it has completed on all CPUs.
///
/// Dropping the table invalidates its address space on all CPUs, then gives back every table. No CPU
/// may enter the guest with this root afterwards.
#[repr(C)]
pub struct NestedPageTable<F: Format, H: TableHost> {
    // In this order, what every operation reads shares a few cache lines, and the request comes last.
    pub(crate) tables: Tables<F, H>,
    pub(crate) gather: Gather,
}

impl<F: Format, H: TableHost> NestedPageTable<F, H> {
    /// An empty table for the address space `vmid`, whose root comes from `host`.
    ///
    /// # Errors
    ///
    /// - [`NewTableError::VmidTooWide`]: the hardware's VMID field is narrower than `vmid`.
    /// - [`NewTableError::OutOfMemory`]: there is no aligned run of frames for the root.
    /// - [`NewTableError::UnusableRoot`]: the run that was returned is not aligned, or lies beyond
    ///   the output width; it was given back.
    pub fn new(format: F, vmid: u16, host: H) -> Result<Self, NewTableError> {
        let bits = format.vmid_bits();
        if bits < 16 && vmid >> bits != 0 {
            return Err(NewTableError::VmidTooWide { vmid, bits });
        }
        let root = new_root(format.geometry(), host.frames())?;
        let space = AddressSpaceId {
            vmid,
            root_register: format.root_register(root, vmid),
        };
        let tables = Tables {
            format,
            host,
            root,
            policy: LeafPolicy::HARDWARE,
        };
        Ok(Self {
            tables,
            gather: Gather::new(space),
        })
    }

    /// The same table with a cap on the size of the leaves that it makes from now on.
    #[must_use]
    pub fn with_leaf_policy(mut self, policy: LeafPolicy) -> Self {
        self.tables.policy = policy;
        self
    }

    /// The format.
    #[inline]
    pub fn format(&self) -> &F {
        &self.tables.format
    }

    /// The shape of the table.
    #[inline]
    pub fn geometry(&self) -> &Geometry {
        self.tables.geometry()
    }

    /// The host.
    #[inline]
    pub fn host(&self) -> &H {
        &self.tables.host
    }

    /// The address of the root.
    #[inline]
    pub fn root(&self) -> HostPhysAddr {
        self.tables.root
    }

    /// The VMID, and the register value that makes this the current table.
    #[inline]
    pub fn space(&self) -> AddressSpaceId {
        self.gather.space()
    }

    /// The cap on the size of new leaves.
    #[inline]
    pub fn leaf_policy(&self) -> LeafPolicy {
        self.tables.policy
    }

    /// Begins an edit: any number of changes, whose invalidation is gathered until it is finished or
    /// dropped.
    #[inline]
    pub fn edit(&mut self) -> Edit<'_, F, H> {
        Edit::new(self)
    }

    /// [`Edit::map`] as an edit of its own: invalidated when it returns.
    ///
    /// # Errors
    ///
    /// Those of [`Edit::map`].
    #[inline]
    pub fn map(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<(), MapError> {
        loop {
            if self.gather.is_idle() && self.store_page(guest, host, flags) {
                let fresh = self.fresh_page(guest);
                release::publish_and_invalidate(&self.tables, &mut self.gather, fresh);
                return Ok(());
            }
            if self.map_in_edit(guest, host, flags)? {
                return Ok(());
            }
        }
    }

    /// [`map`](Self::map), out of the way of the pages that take one store. Says whether it did it: if not,
    /// the page may be one of them now.
    ///
    /// Cold beside these pages, so that a loop over them keeps its values in registers.
    #[cold]
    #[inline(never)]
    fn map_in_edit(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<bool, MapError> {
        self.edit().table.map_elsewhere(guest, host, flags)
    }

    /// [`Edit::unmap`] as an edit of its own: invalidated, and its tables given back, when it
    /// returns.
    ///
    /// # Errors
    ///
    /// Those of [`Edit::unmap`].
    #[inline]
    pub fn unmap(&mut self, guest: GuestPhysRange) -> Result<(), UnmapError> {
        loop {
            if self.gather.is_idle() && self.clear_page(guest) {
                let removed = Some(removed_page(guest));
                release::publish_and_invalidate(&self.tables, &mut self.gather, removed);
                return Ok(());
            }
            if self.unmap_in_edit(guest)? {
                return Ok(());
            }
        }
    }

    /// [`unmap`](Self::unmap), out of the way of the pages that take one store. Says whether it did it: if
    /// not, the page may be one of them now.
    ///
    /// Cold, as [`map_in_edit`](Self::map_in_edit) is.
    #[cold]
    #[inline(never)]
    fn unmap_in_edit(&mut self, guest: GuestPhysRange) -> Result<bool, UnmapError> {
        self.edit().table.unmap_elsewhere(guest)
    }

    /// [`Edit::unmap_reporting`] as an edit of its own.
    ///
    /// # Errors
    ///
    /// Those of [`Edit::unmap_reporting`].
    pub fn unmap_reporting(
        &mut self,
        guest: GuestPhysRange,
        mut report: impl FnMut(UnmappedLeaf),
    ) -> Result<(), UnmapError> {
        self.find_page(guest);
        if self.gather.is_idle()
            && let Some(leaf) = self.take_page(guest)
        {
            let removed = Some(removed_page(guest));
            release::publish_and_invalidate(&self.tables, &mut self.gather, removed);
            report(leaf);
            return Ok(());
        }
        self.edit().unmap_reporting(guest, report)
    }

    /// [`Edit::protect`] as an edit of its own: invalidated when it returns.
    ///
    /// # Errors
    ///
    /// Those of [`Edit::protect`].
    #[inline]
    pub fn protect(
        &mut self,
        guest: GuestPhysRange,
        permissions: MappingFlags,
    ) -> Result<(), ProtectError> {
        self.edit().protect(guest, permissions)
    }

    /// The leaf that translates `address`, or `None` where nothing is mapped, beyond the input width
    /// included. One load for each level.
    #[inline]
    pub fn translate(&self, address: GuestPhysAddr) -> Option<Mapping> {
        self.tables.leaf(address)
    }

    /// Where `address` leads, or `None` where nothing is mapped, beyond the input width included: the
    /// short form of [`translate`](Self::translate). One load for each level.
    #[inline]
    pub fn host_of(&self, address: GuestPhysAddr) -> Option<HostPhysAddr> {
        self.tables.walk(address, |level, found| match found {
            // Leaves are aligned to their size.
            Entry::Leaf(leaf) => {
                let offset = address.as_u64() & (self.geometry().entry_size(level) - 1);
                Some(HostPhysAddr::new(leaf.address.as_u64() | offset))
            }
            _ => None,
        })
    }

    /// Carries out the pending batch if it concerns `range`.
    #[inline]
    pub(crate) fn settle(&mut self, range: GuestPhysRange) {
        if self.gather.overlaps(range) {
            release::carry_out(&self.tables, &mut self.gather);
        }
    }
}

/// Takes a root from `frames` and clears it.
fn new_root<H: HostFrames>(geometry: &Geometry, frames: &H) -> Result<HostPhysAddr, NewTableError> {
    let (count, alignment) = (geometry.root_frames(), geometry.root_alignment());
    let root = frames
        .alloc(count, alignment)
        .ok_or(NewTableError::OutOfMemory { frames: count })?;
    if root.as_u64() & (alignment - 1) == 0 && root.fits_in(geometry.output_bits()) {
        let words = count as usize * FRAME_WORDS;
        // SAFETY: the run of `count` frames was just handed out, and nobody else uses it.
        words::clear(unsafe { words::private(frames, root, words) });
        return Ok(root);
    }
    // SAFETY: the run was just handed out, whole, and nothing uses it.
    unsafe { frames.dealloc(root, count) };
    Err(NewTableError::UnusableRoot { root })
}

impl<F: Format, H: TableHost> Drop for NestedPageTable<F, H> {
    fn drop(&mut self) {
        // SAFETY: the tree is not used after this.
        unsafe { release::release_tree(&self.tables, &mut self.gather) }
    }
}

impl<F: Format, H: TableHost> fmt::Debug for NestedPageTable<F, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NestedPageTable")
            .field("format", &self.tables.format)
            .field("root", &self.tables.root)
            .field("space", &self.space())
            .finish_non_exhaustive()
    }
}
