//! What the workloads are run on.

mod aarch64_paging;
mod ept_entry;
mod generic;
mod multiarch;
pub(crate) mod nested;
mod x86_64;

pub(crate) use self::aarch64_paging::Aarch64Paging;
pub(crate) use self::generic::Generic;
pub(crate) use self::multiarch::Multiarch;
pub(crate) use self::x86_64::X86;

use anyhow::Result;
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::envelope::Operation;

/// The leaves that a table may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// Leaves of 4 KiB only.
    Pages,
    /// Leaves as large as the alignment allows.
    Largest,
}

/// What a guest may do with a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read.
    Read,
    /// Read and execute.
    ReadExecute,
    /// Read and write.
    ReadWrite,
    /// Read, write and execute.
    ReadWriteExecute,
}

/// Every kind of access.
pub(crate) const ALL_ACCESS: [Access; 4] = [
    Access::Read,
    Access::ReadExecute,
    Access::ReadWrite,
    Access::ReadWriteExecute,
];

/// What a contender says about a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Where the address that was asked for leads, or else the first byte of the leaf.
    pub(crate) host: HostPhysAddr,
    /// The size of the leaf.
    pub(crate) bytes: u64,
    /// The flags, as the contender has them: [`PageTable::access`] reads them.
    pub(crate) flags: u64,
}

impl Leaf {
    /// A number that depends on all of it: what is returned has to be there.
    #[inline(always)]
    pub(crate) const fn sum(self) -> u64 {
        let sum = self.host.as_u64().wrapping_add(self.bytes);
        sum.wrapping_add(self.flags)
    }
}

/// What a contender promises beyond doing its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promises {
    /// A CPU may use the table meanwhile, and an operation that fails has changed nothing.
    LiveAndAtomic,
    /// A CPU may use the table meanwhile; an operation that fails stays half done.
    Live,
    /// No CPU may use the table meanwhile.
    Unused,
    /// None: no splitting, no undoing, no invalidation.
    Bare,
}

/// A page table, as far as the workloads use one: every call is one that a hypervisor would make, and
/// is complete, invalidation and the return of tables included, when it returns.
///
/// Every call of a contender is always inlined: the clock is to see what stands behind it, and no other
/// call.
pub(crate) trait PageTable: Sized {
    /// The name in reports.
    const NAME: &'static str;
    /// What it promises.
    const PROMISES: Promises;
    /// Whether [`map_leaf`](Self::map_leaf) and its like are other calls of the contender than those for
    /// ranges, so that either may be the faster.
    const HAS_LEAF_CALLS: bool = false;

    /// Why the table cannot do `workload`, if it cannot.
    fn refuses(workload: &str) -> Option<&'static str> {
        let _ = workload;
        None
    }

    /// Whether `operation` steps through a hole of many GiB page by page.
    fn steps_through_holes(operation: Operation) -> bool {
        let _ = operation;
        false
    }

    /// An empty table.
    fn new(leaves: Leaves) -> Result<Self>;

    /// Maps `guest` to the host memory from `host` on.
    fn map(&mut self, guest: GuestPhysRange, host: HostPhysAddr, access: Access) -> Result<()>;

    /// Unmaps `guest`.
    fn unmap(&mut self, guest: GuestPhysRange) -> Result<()>;

    /// Unmaps `guest`, and calls `report` with each leaf.
    fn unmap_reporting(&mut self, guest: GuestPhysRange, report: impl FnMut(Leaf)) -> Result<()>;

    /// Changes what the guest may do in `guest`.
    fn protect(&mut self, guest: GuestPhysRange, access: Access) -> Result<()>;

    /// Maps one leaf, which is `guest`.
    #[inline(always)]
    fn map_leaf(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        access: Access,
    ) -> Result<()> {
        self.map(guest, host, access)
    }

    /// Unmaps `guest`, which is one leaf or absent.
    #[inline(always)]
    fn unmap_leaf(&mut self, guest: GuestPhysRange) -> Result<()> {
        self.unmap(guest)
    }

    /// Changes what the guest may do in `guest`, which is one leaf.
    #[inline(always)]
    fn protect_leaf(&mut self, guest: GuestPhysRange, access: Access) -> Result<()> {
        self.protect(guest, access)
    }

    /// Maps the page at `guest` to the one at `host`.
    #[inline(always)]
    fn map_page(&mut self, guest: GuestPhysAddr, host: HostPhysAddr, access: Access) -> Result<()> {
        self.map_leaf(page(guest)?, host, access)
    }

    /// Unmaps the page at `guest`.
    #[inline(always)]
    fn unmap_page(&mut self, guest: GuestPhysAddr) -> Result<()> {
        self.unmap_leaf(page(guest)?)
    }

    /// Unmaps the page at `guest`, which is part of a larger leaf; the rest of the leaf stays.
    #[inline(always)]
    fn unmap_page_of_leaf(&mut self, guest: GuestPhysAddr) -> Result<()> {
        self.unmap_page(guest)
    }

    /// Where `address` leads, by the shortest call that says so.
    #[inline(always)]
    fn host_of(&self, address: GuestPhysAddr) -> Option<HostPhysAddr> {
        Some(self.translate(address)?.host)
    }

    /// Where `address` leads, what the guest may do there, and how large the leaf is.
    fn translate(&self, address: GuestPhysAddr) -> Option<Leaf>;

    /// Calls `visitor` with each leaf in `guest`, which has no leaf that reaches beyond it.
    fn visit(&self, guest: GuestPhysRange, visitor: impl FnMut(Leaf)) -> Result<()>;

    /// What the `flags` of a leaf mean.
    fn access(flags: u64) -> Option<Access>;
}

/// The page at `address`.
#[inline(always)]
pub(crate) fn page(address: GuestPhysAddr) -> Result<GuestPhysRange> {
    Ok(GuestPhysRange::from_start_size(address, PAGE_SIZE_4K)?)
}
