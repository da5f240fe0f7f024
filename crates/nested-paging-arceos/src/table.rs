//! The table as `axaddrspace` wants it.
#![expect(
    unsafe_code,
    reason = "gives back the frames that it handed out to the address space"
)]

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use ax_memory_addr::{PhysAddr, VirtAddr};
use axaddrspace::{AddrSpaceError, AddrSpaceResult, NestedPageTableOps, PageSize};
use axvm_types::{GuestPhysAddr, MappingFlags, NestedPagingConfig};
use guest_addr::{GuestPhysRange, PAGE_SIZE_4K};
use nested_page_table::{
    Format, HostFrames, LeafPolicy, Level, Mapping, NestedPageTable, NewTableError, TableHost,
};

use crate::convert::{ax_host, flags_from_axvm, guest, host, page, range, whole};
use crate::error::{map_error, unmap_error};
use crate::levels::AxvmFormat;

/// No frame: a frame's address is a multiple of 4 KiB.
const NONE: u64 = u64::MAX;

/// A nested page table in the format `F` behind [`NestedPageTableOps`].
///
/// Every operation of the trait keeps the promises of [`NestedPageTable`]: an error has changed nothing, neighbours of the
/// range keep what they have, and what CPUs remember is invalidated through `H` before a frame comes back. What differs
/// from other implementors is listed on the crate's page.
pub struct Table<F: Format, H: TableHost> {
    table: NestedPageTable<F, H>,
    clean: fn(PhysAddr, usize),
    /// The frame that [`alloc_frame`](NestedPageTableOps::alloc_frame) handed out last, until it is mapped or given back.
    handed_out: AtomicU64,
}

impl<F: Format, H: TableHost> Table<F, H> {
    /// An empty table. `vmid` is what invalidation requests name; it matters to a host that executes them.
    ///
    /// # Errors
    ///
    /// Those of [`NestedPageTable::new`].
    ///
    /// # Safety
    ///
    /// [`NestedPageTableOps::dealloc_frame`] is a safe function that gives a frame back to the host. Whoever calls it:
    ///
    /// - passes an address that [`alloc_frame`](NestedPageTableOps::alloc_frame) of this table returned and that was not given
    ///   back since;
    /// - has unmapped the frame from every table, and uses it no more.
    ///
    /// `axaddrspace` 0.6 keeps both.
    pub unsafe fn new(format: F, vmid: u16, host: H) -> Result<Self, NewTableError> {
        let table = NestedPageTable::new(format, vmid, host)?;
        Ok(Self {
            // `PageSize` has no 512 GiB.
            table: table.with_leaf_policy(LeafPolicy::up_to(Level::BLOCK_1G)),
            clean: |_, _| {},
            handed_out: AtomicU64::new(NONE),
        })
    }

    /// The same table, which calls `clean` with each frame that it hands out for guest memory, zeroed, before the guest can have
    /// it. AArch64 needs it where FEAT_S2FWB is absent: a guest that runs without caches would read what memory held
    /// before.
    #[must_use]
    pub fn with_data_cache_clean(self, clean: fn(PhysAddr, usize)) -> Self {
        Self { clean, ..self }
    }

    /// What a CPU of `axvm` needs to use the table.
    pub fn nested_paging_config(&self) -> NestedPagingConfig
    where
        F: AxvmFormat,
    {
        let geometry = self.table.geometry();
        NestedPagingConfig::new(
            ax_host(self.table.root()),
            usize::from(geometry.levels()),
            geometry.input_bits() as usize,
            self.table.format().axvm_mode(),
        )
    }

    /// The table itself, for what the trait has no method for.
    pub fn table(&self) -> &NestedPageTable<F, H> {
        &self.table
    }

    /// The table itself, for what the trait has no method for. The address space above does not learn of changes.
    pub fn table_mut(&mut self) -> &mut NestedPageTable<F, H> {
        &mut self.table
    }

    fn leaf(&self, address: GuestPhysAddr) -> AddrSpaceResult<Mapping> {
        let leaf = self.table.translate(guest(address));
        leaf.ok_or(AddrSpaceError::Unmapped { address })
    }

    /// `frame` has a user from now on.
    fn is_in_use(&self, frame: PhysAddr) {
        let expected = host(frame).as_u64();
        // Where another frame was handed out since, that one is remembered.
        let _ =
            self.handed_out
                .compare_exchange(expected, NONE, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn was_handed_out(&self, frame: PhysAddr) -> bool {
        self.handed_out.load(Ordering::Relaxed) == host(frame).as_u64()
    }

    fn map_range(
        &mut self,
        range: GuestPhysRange,
        paddr: PhysAddr,
        flags: MappingFlags,
        policy: LeafPolicy,
    ) -> AddrSpaceResult {
        let flags = flags_from_axvm(flags).map_err(|_| AddrSpaceError::InvalidMapping)?;
        let mut edit = self.table.edit();
        let mapped = edit.map_with(range, host(paddr), flags, policy);
        let invalidated = edit.finish();
        mapped.map_err(map_error)?;
        // It is mapped, whatever the invalidation says.
        self.is_in_use(paddr);
        invalidated.map_err(|_| AddrSpaceError::NeedsRepair)
    }
}

impl<F: Format, H: TableHost> NestedPageTableOps for Table<F, H> {
    fn root_paddr(&self) -> PhysAddr {
        ax_host(self.table.root())
    }

    fn levels(&self) -> usize {
        usize::from(self.table.geometry().levels())
    }

    /// A frame, zeroed and cleaned: no guest finds in it what another one wrote.
    fn alloc_frame(&self) -> Option<PhysAddr> {
        let frame = self.table.host().frames().alloc_zeroed(1, PAGE_SIZE_4K)?;
        self.handed_out.store(frame.as_u64(), Ordering::Relaxed);
        let frame = ax_host(frame);
        (self.clean)(frame, PAGE_SIZE_4K as usize);
        Some(frame)
    }

    /// Takes back a frame of [`alloc_frame`](NestedPageTableOps::alloc_frame), which must be unmapped by now.
    fn dealloc_frame(&self, paddr: PhysAddr) {
        self.is_in_use(paddr);
        // SAFETY: whoever made the table vouched that the frame came from `alloc_frame`, alone, and is out and unmapped.
        // Each operation that unmaps it ends with the invalidation, so that no CPU can use it.
        unsafe { self.table.host().frames().dealloc(host(paddr), 1) };
    }

    fn phys_to_virt(&self, paddr: PhysAddr) -> VirtAddr {
        let pointer = self.table.host().frames().pointer(host(paddr));
        VirtAddr::from_usize(pointer.as_ptr().expose_provenance())
    }

    /// Where the hardware has no leaf of `size`, smaller ones are made. There is no leaf of 1 MiB.
    fn map(
        &mut self,
        vaddr: GuestPhysAddr,
        paddr: PhysAddr,
        size: PageSize,
        flags: MappingFlags,
    ) -> AddrSpaceResult {
        if size == PageSize::Size1M {
            return Err(AddrSpaceError::InvalidMapping);
        }
        let size = usize::from(size);
        let misaligned = [
            ("guest physical address", vaddr.as_usize()),
            ("host physical address", paddr.as_usize()),
        ];
        if let Some((subject, value)) = misaligned.into_iter().find(|(_, value)| value % size != 0)
        {
            return Err(AddrSpaceError::Unaligned {
                subject,
                value,
                alignment: size,
            });
        }
        self.map_range(range(vaddr, size)?, paddr, flags, LeafPolicy::HARDWARE)
    }

    /// The whole leaf over `vaddr` goes.
    fn unmap(
        &mut self,
        vaddr: GuestPhysAddr,
    ) -> AddrSpaceResult<(PhysAddr, MappingFlags, PageSize)> {
        let leaf = self.leaf(vaddr)?;
        self.table.unmap(leaf.guest).map_err(unmap_error)?;
        Ok(whole(&leaf))
    }

    fn map_linear(
        &mut self,
        vaddr: GuestPhysAddr,
        paddr: PhysAddr,
        size: usize,
        flags: MappingFlags,
        allow_huge: bool,
    ) -> AddrSpaceResult {
        let range = range(vaddr, size)?;
        let policy = match allow_huge {
            true => LeafPolicy::HARDWARE,
            false => LeafPolicy::up_to(Level::PAGE_4K),
        };
        self.map_range(range, paddr, flags, policy)
    }

    /// Holes are skipped; leaves that reach out of the range are split.
    fn unmap_region(&mut self, start: GuestPhysAddr, size: usize) -> AddrSpaceResult {
        let range = range(start, size)?;
        self.table.unmap(range).map_err(unmap_error)
    }

    /// Maps the page around `start` to `paddr`.
    ///
    /// Where the page is mapped and `paddr` is the frame that [`alloc_frame`](NestedPageTableOps::alloc_frame) handed out last,
    /// a second CPU faulted on the page: nothing changes, the frame is given back, and the answer is `true`. Any
    /// other frame replaces the one that is mapped, which the caller still owns.
    ///
    /// `false`: nothing has changed. The frame that was handed out last is given back then, too: `axaddrspace`
    /// forgets it.
    fn remap(&mut self, start: GuestPhysAddr, paddr: PhysAddr, flags: MappingFlags) -> bool {
        let page = page(start);
        let is_new = self.was_handed_out(paddr);
        let is_done = match self.table.host_of(page.start()) {
            None => self
                .map_range(page, paddr, flags, LeafPolicy::HARDWARE)
                .is_ok(),
            Some(_) if is_new => true,
            Some(_) => self.replace(page, paddr, flags).is_ok(),
        };
        // A frame that was mapped is in use, even where the host could not invalidate.
        if is_new && self.was_handed_out(paddr) {
            self.dealloc_frame(paddr);
        }
        is_done
    }

    /// Holes are skipped. A leaf that reaches out of the range is split. Permissions only: `false` where `new_flags` names a
    /// memory type, or where a leaf cannot have them.
    fn protect_region(
        &mut self,
        start: GuestPhysAddr,
        size: usize,
        new_flags: MappingFlags,
    ) -> bool {
        let (Ok(range), Ok(flags)) = (range(start, size), flags_from_axvm(new_flags)) else {
            return false;
        };
        self.table.protect(range, flags).is_ok()
    }

    fn query(&self, vaddr: GuestPhysAddr) -> AddrSpaceResult<(PhysAddr, MappingFlags, PageSize)> {
        let leaf = self.leaf(vaddr)?;
        let (_, flags, size) = whole(&leaf);
        let address = leaf.host_of(guest(vaddr));
        let address = address.ok_or(AddrSpaceError::Unmapped { address: vaddr })?;
        Ok((ax_host(address), flags, size))
    }
}

impl<F: Format, H: TableHost> Table<F, H> {
    /// Maps `page`, which is mapped, to `paddr`. All or nothing.
    fn replace(
        &mut self,
        page: GuestPhysRange,
        paddr: PhysAddr,
        flags: MappingFlags,
    ) -> AddrSpaceResult {
        let Some(old) = self.table.translate(page.start()) else {
            return Err(AddrSpaceError::MappingState);
        };
        self.table.unmap(page).map_err(unmap_error)?;
        let mapped = self.map_range(page, paddr, flags, LeafPolicy::HARDWARE);
        if mapped.is_err() {
            // What the page had fits, and its table is there.
            let Some(before) = old.host_of(page.start()) else {
                return Err(AddrSpaceError::NeedsRepair);
            };
            let restored = self.table.map(page, before, old.flags);
            restored.map_err(|_| AddrSpaceError::NeedsRepair)?;
        }
        mapped
    }
}

impl<F: Format, H: TableHost> fmt::Debug for Table<F, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("root", &self.table.root())
            .field("levels", &self.table.geometry().levels())
            .finish_non_exhaustive()
    }
}
