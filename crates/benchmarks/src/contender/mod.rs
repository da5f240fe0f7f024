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

use std::fmt::Debug;

use anyhow::Result;
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

/// The leaves that a table may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// Leaves of 4 KiB only.
    Pages,
    /// Leaves as large as the alignment allows.
    Largest,
}

/// A page table, as far as the workloads use one: every call is one that a hypervisor would make, and
/// is complete, invalidation and the return of tables included, when it returns.
///
/// Every call of a contender is always inlined: the clock is to see what stands behind it, and no other
/// call.
pub(crate) trait PageTable: Sized {
    /// The name in reports.
    const NAME: &'static str;

    /// Why the table cannot do `workload`, if it cannot.
    fn refuses(workload: &str) -> Option<&'static str> {
        let _ = workload;
        None
    }

    /// An empty table.
    fn new(leaves: Leaves) -> Result<Self>;

    /// Maps `guest`, with everything allowed but execution, to the host memory from `host` on.
    fn map(&mut self, guest: GuestPhysRange, host: HostPhysAddr) -> Result<()>;

    /// Unmaps `guest`.
    fn unmap(&mut self, guest: GuestPhysRange) -> Result<()>;

    /// Makes `guest` read-only.
    fn protect(&mut self, guest: GuestPhysRange) -> Result<()>;

    /// Maps the page at `guest` to the one at `host`.
    fn map_page(&mut self, guest: GuestPhysAddr, host: HostPhysAddr) -> Result<()>;

    /// Unmaps the page at `guest`.
    fn unmap_page(&mut self, guest: GuestPhysAddr) -> Result<()>;

    /// Unmaps the page at `guest`, which is part of a larger leaf; the rest of the leaf stays.
    #[inline(always)]
    fn unmap_page_of_leaf(&mut self, guest: GuestPhysAddr) -> Result<()> {
        self.unmap_page(guest)
    }

    /// Where `address` leads.
    fn translate(&self, address: GuestPhysAddr) -> Option<HostPhysAddr>;

    /// Whether the page at `address` may be written to. `None` where nothing is mapped.
    fn is_writable(&self, address: GuestPhysAddr) -> Option<bool>;
}
