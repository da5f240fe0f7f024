//! A nested page table and everything that only reads it.
#![expect(
    unsafe_code,
    reason = "clears a new root, or gives it back where it cannot be used, and the whole tree; a change of the VMID"
)]

use core::fmt;
use core::ops::ControlFlow;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags;

use crate::change::edit::Edit;
use crate::contract::error::{MapError, NewTableError, ProtectError, SetVmidError, UnmapError};
use crate::contract::format::Format;
use crate::contract::frames::HostFrames;
use crate::contract::geometry::Geometry;
use crate::contract::host::TableHost;
use crate::contract::invalidation::{AddressSpaceId, InvalidationFailed};
use crate::contract::level::Level;
use crate::contract::live_error::{FillError, RaiseError, SplitError};
use crate::contract::mapping::{Mapping, UnmappedLeaf};
use crate::contract::outcome::{Due, FillOutcome, MarkOutcome, RaiseOutcome, SplitOutcome};
use crate::contract::policy::LeafPolicy;
use crate::read::statistics::Statistics;
use crate::read::visit::VisitedEntry;
use crate::settle::gathering_tree::GatheringTree;
use crate::settle::release;
use crate::tree::encoded::EncodedLeaves;
use crate::tree::tables::Tables;
use crate::tree::words::{self, FRAME_WORDS};

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
/// Dropping the table invalidates its address space on all CPUs, then gives back every table; where that
/// invalidation fails, its frames are leaked. No CPU may enter the guest with this root afterwards.
pub struct NestedPageTable<F: Format, H: TableHost> {
    tree: GatheringTree<F, H>,
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
        if is_too_wide(vmid, bits) {
            return Err(NewTableError::VmidTooWide { vmid, bits });
        }
        let root = new_root(&format, host.frames())?;
        let space = AddressSpaceId {
            vmid,
            root_register: format.root_register(root, vmid),
        };
        let tables = Tables {
            policy: format.leaf_policy(),
            format,
            host,
            root,
        };
        Ok(Self {
            tree: GatheringTree::new(tables, space),
        })
    }

    /// The same table with a cap on the size of the leaves that it makes from now on. The cap of the
    /// [format](Format::leaf_policy) holds as well.
    #[must_use]
    pub fn with_leaf_policy(mut self, policy: LeafPolicy) -> Self {
        self.tree.tables.policy = policy.intersect(self.format().leaf_policy());
        // It was encoded for the policy before.
        self.tree.gather.encoded = EncodedLeaves::new();
        self
    }

    /// The format.
    #[inline]
    pub fn format(&self) -> &F {
        &self.tree.tables.format
    }

    /// The shape of the table.
    #[inline]
    pub fn geometry(&self) -> &Geometry {
        self.tree.tables.geometry()
    }

    /// The host.
    #[inline]
    pub fn host(&self) -> &H {
        &self.tree.tables.host
    }

    /// The address of the root.
    #[inline]
    pub fn root(&self) -> HostPhysAddr {
        self.tree.tables.root
    }

    /// The VMID, and the register value that makes this the current table.
    #[inline]
    pub fn space(&self) -> AddressSpaceId {
        self.tree.gather.space()
    }

    /// The cap on the size of new leaves.
    #[inline]
    pub fn leaf_policy(&self) -> LeafPolicy {
        self.tree.tables.policy
    }

    /// Gives the table another VMID, such as a new generation's. The pending invalidation is carried out first. Tables and
    /// mappings stay; [`space`](Self::space) says what register value selects them from now on.
    ///
    /// # Safety
    ///
    /// - No CPU is inside the guest, or enters it again with the old register value, until this table is dropped. Later
    ///   invalidations name the new VMID only.
    /// - No CPU has translations of the new VMID.
    ///
    /// The old VMID's translations stay cached. Invalidate them before somebody else gets it.
    ///
    /// # Errors
    ///
    /// The VMID is what it was.
    ///
    /// - [`SetVmidError::TooWide`]: the hardware's VMID field is narrower than `vmid`.
    /// - [`SetVmidError::NotInvalidated`]: the pending invalidation failed.
    pub unsafe fn set_vmid(&mut self, vmid: u16) -> Result<(), SetVmidError> {
        let bits = self.format().vmid_bits();
        if is_too_wide(vmid, bits) {
            return Err(SetVmidError::TooWide { vmid, bits });
        }
        self.tree.flush().map_err(SetVmidError::NotInvalidated)?;
        let root_register = self.format().root_register(self.root(), vmid);
        self.tree.gather.set_space(AddressSpaceId {
            vmid,
            root_register,
        });
        Ok(())
    }

    /// Begins an edit: any number of changes, whose invalidation is gathered until it is finished or
    /// dropped.
    #[inline]
    pub fn edit(&mut self) -> Edit<'_, F, H> {
        Edit::new(&mut self.tree)
    }

    /// [`Edit::map`] as an edit of its own: invalidated when it returns.
    ///
    /// # Errors
    ///
    /// Those of [`Edit::map`], and [`MapError::NotInvalidated`]: the range is mapped, but the host could
    /// not invalidate what CPUs remember of it.
    #[inline(always)]
    pub fn map(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<(), MapError> {
        self.tree.map_alone(guest, host, flags)
    }

    /// [`Edit::unmap`] as an edit of its own: invalidated, and its tables given back, when it
    /// returns.
    ///
    /// # Errors
    ///
    /// Those of [`Edit::unmap`]. [`UnmapError::NotInvalidated`] is also what becomes of an invalidation at the
    /// end of the edit that fails.
    #[inline(always)]
    pub fn unmap(&mut self, guest: GuestPhysRange) -> Result<(), UnmapError> {
        self.tree.unmap_alone(guest)
    }

    /// [`Edit::unmap_reporting`] as an edit of its own.
    ///
    /// # Errors
    ///
    /// Those of [`Edit::unmap_reporting`].
    #[inline]
    pub fn unmap_reporting(
        &mut self,
        guest: GuestPhysRange,
        report: impl FnMut(UnmappedLeaf),
    ) -> Result<(), UnmapError> {
        self.tree.unmap_reporting_alone(guest, report)
    }

    /// [`Edit::protect`] as an edit of its own: invalidated when it returns.
    ///
    /// # Errors
    ///
    /// Those of [`Edit::protect`]. [`ProtectError::NotInvalidated`] is also what becomes of an invalidation at
    /// the end of the edit that fails.
    #[inline]
    pub fn protect(
        &mut self,
        guest: GuestPhysRange,
        permissions: MappingFlags,
    ) -> Result<(), ProtectError> {
        self.tree.protect_alone(guest, permissions)
    }

    /// The leaf that translates `address`, or `None` where nothing is mapped, beyond the input width
    /// included. One load for each level.
    ///
    /// This and the other functions that read may run beside those that change the table through a shared reference. While
    /// another CPU [splits](Self::split) a leaf, they find nothing there for a moment, as the hardware does.
    // A mapping of five words is not returned through memory where the caller needs two.
    #[inline(always)]
    pub fn translate(&self, address: GuestPhysAddr) -> Option<Mapping> {
        self.tree.tables.leaf(address)
    }

    /// Where `address` leads, or `None` where nothing is mapped, beyond the input width included: the
    /// short form of [`translate`](Self::translate). One load for each level.
    #[inline]
    pub fn host_of(&self, address: GuestPhysAddr) -> Option<HostPhysAddr> {
        let (level, bits, offset) = self.tree.tables.walk(address, |level, bits| {
            let offset = address.as_u64() & (self.geometry().entry_size(level) - 1);
            Some((level, bits, offset))
        })?;
        // Once for all levels, which takes less code.
        let leaf = self.format().decode_own_leaf(level, bits)?;
        // Leaves are aligned to their size.
        Some(HostPhysAddr::new(leaf.address.as_u64() | offset))
    }

    /// Puts one leaf into an absent entry, through a shared reference: any number of CPUs may do this at once.
    ///
    /// `guest` is exactly one leaf of a size that the hardware has and the [`LeafPolicy`] allows. The leaf appears whole, by one
    /// compare-exchange, with all tables that were missing above it. The other outcomes change nothing. What the CPU
    /// wrote to the memory of the leaf before the call is visible to whoever finds the leaf by
    /// [`translate`](Self::translate), and to the guest.
    ///
    /// Frames for tables come from [`HostFrames::alloc_zeroed`], or from [`HostFrames::alloc`] where an absent entry is not
    /// zero. They are taken before the exchange; those that are not needed then are given back. So a host that wants to
    /// allocate nothing in a fault keeps a few zeroed frames behind that function. At most one frame for each level below the root.
    ///
    /// Lock-free: an exchange is lost only where another CPU filled the same entry, once for each level at most.
    /// O(levels), and clearing the new tables.
    ///
    /// # Errors
    ///
    /// - [`FillError::NotALeaf`]: the range is not exactly one leaf, or the host address is not aligned to its size.
    /// - [`FillError::GuestTooWide`]: the range goes beyond the input width.
    /// - [`FillError::HostTooWide`]: the host range goes beyond the output width.
    /// - [`FillError::Flags`]: the flags are invalid, or the format cannot express them.
    /// - [`FillError::TooLarge`]: the policy allows smaller leaves only.
    /// - [`FillError::Unsettled`]: an earlier removal in the range could not be invalidated, or its edit was leaked.
    /// - [`FillError::OutOfMemory`]: there are not enough frames for tables.
    #[inline]
    pub fn fill(
        &self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<FillOutcome, FillError> {
        self.tree.fill(guest, host, flags)
    }

    /// Gives the leaf over `address` the `permissions` beside those that it has, through a shared reference. The whole leaf
    /// gets them, whatever its size. Address and memory type stay, and no accessed or dirty bit is lost.
    ///
    /// One compare-exchange. It is repeated if another CPU, or the hardware, changed the leaf in between.
    ///
    /// # Errors
    ///
    /// - [`RaiseError::NotAPermission`]: a flag was given other than `READ`, `WRITE`, `EXECUTE` and `USER`.
    /// - [`RaiseError::Flags`]: the leaf cannot have these permissions beside its own, or with its memory type.
    /// - [`RaiseError::TooLarge`]: the policy allows them for smaller leaves only.
    #[inline]
    pub fn raise(
        &self,
        address: GuestPhysAddr,
        permissions: MappingFlags,
    ) -> Result<RaiseOutcome, RaiseError> {
        self.tree.tables.raise(address, permissions)
    }

    /// Marks the leaf over `address` as accessed, through a shared reference: for hardware that faults on the first access
    /// instead of setting the mark itself. No other bit changes, and no invalidation is due.
    #[inline]
    pub fn mark_accessed(&self, address: GuestPhysAddr) -> MarkOutcome {
        self.tree.tables.mark_accessed(address)
    }

    /// Splits the leaf over `address` until it is of `largest` at most there, through a shared reference: for instance so that
    /// one page of a huge leaf can be [raised](Self::raise). Every byte keeps address, permissions, memory type, and accessed
    /// and dirty state. The other pieces are as large as possible.
    ///
    /// The call freezes the entry, has [all CPUs](crate::Scope::AllCpus) forget the leaf, and links the table. In between the
    /// hardware finds nothing in the range of the leaf, nor does [`translate`](Self::translate); other changes through
    /// a shared reference answer `Busy`. A guest that faults there meanwhile is to be entered again. Until the call returns,
    /// a CPU that got `Busy` must be able to carry out the invalidation that the call waits for.
    ///
    /// O(entries written): 512 for each level that is split.
    ///
    /// # Errors
    ///
    /// - [`SplitError::OutOfMemory`]: there are not enough frames for tables.
    /// - [`SplitError::NotInvalidated`]: the host could not invalidate the leaf. It was put back as it was.
    #[inline]
    pub fn split(
        &self,
        address: GuestPhysAddr,
        largest: Level,
    ) -> Result<SplitOutcome, SplitError> {
        self.tree.split(address, largest)
    }

    /// The invalidation that is due on a CPU that faulted although `leaf` permits the access: another CPU filled or raised the
    /// leaf, and this CPU remembers what was there before.
    #[inline]
    pub fn due_after_spurious_fault(&self, leaf: &Mapping) -> Due {
        Due::spurious(leaf, self.format().rules().fresh_needs_invalidation)
    }

    /// Asks the host for the invalidation that is `due`.
    ///
    /// # Errors
    ///
    /// [`InvalidationFailed`]: the host could not. The change stays; until this CPU has forgotten the old translation the
    /// guest may fault again.
    #[inline]
    pub fn invalidate_due(&self, due: Due) -> Result<(), InvalidationFailed> {
        match due.request(self.space()) {
            Some(request) => self.host().invalidate(&request),
            None => Ok(()),
        }
    }

    /// Calls `visitor` for each present entry that translates a byte of `range`, in ascending order,
    /// a table before what is below it. `Break` ends the visit and is returned. What lies beyond the
    /// input width is skipped. O(entries of the tables visited).
    #[inline]
    pub fn visit_entries<B>(
        &self,
        range: GuestPhysRange,
        visitor: impl FnMut(VisitedEntry) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.tree.tables.visit_entries(range, visitor)
    }

    /// Calls `visitor` for each leaf that translates a byte of `range`, whole, in ascending order.
    #[inline]
    pub fn visit(&self, range: GuestPhysRange, visitor: impl FnMut(Mapping)) {
        self.tree.tables.visit(range, visitor);
    }

    /// Counts tables and leaves by visiting every entry: O(entries), nothing is kept between calls.
    #[inline]
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.tree.tables.statistics()
    }
}

/// Whether `vmid` does not fit in `bits` bits.
const fn is_too_wide(vmid: u16, bits: u32) -> bool {
    bits < 16 && vmid >> bits != 0
}

/// Takes a root from `frames` and clears it.
fn new_root<F: Format, H: HostFrames>(
    format: &F,
    frames: &H,
) -> Result<HostPhysAddr, NewTableError> {
    let geometry = format.geometry();
    let (count, alignment) = (geometry.root_frames(), geometry.root_alignment());
    let root = frames
        .alloc(count, alignment)
        .ok_or(NewTableError::OutOfMemory { frames: count })?;
    if root.as_u64() & (alignment - 1) == 0 && root.fits_in(geometry.output_bits()) {
        let words = count as usize * FRAME_WORDS;
        // SAFETY: the run of `count` frames was just handed out, and nobody else uses it.
        words::clear(
            unsafe { words::private(frames, root, words) },
            format.absent(),
        );
        return Ok(root);
    }
    // SAFETY: the run was just handed out, whole, and nothing uses it.
    unsafe { frames.dealloc(root, count) };
    Err(NewTableError::UnusableRoot { root })
}

impl<F: Format, H: TableHost> Drop for NestedPageTable<F, H> {
    fn drop(&mut self) {
        // SAFETY: the tree is not used after this.
        unsafe { release::release_tree(&self.tree.tables, &mut self.tree.gather) }
    }
}

impl<F: Format, H: TableHost> fmt::Debug for NestedPageTable<F, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NestedPageTable")
            .field("format", &self.tree.tables.format)
            .field("root", &self.tree.tables.root)
            .field("space", &self.space())
            .finish_non_exhaustive()
    }
}
