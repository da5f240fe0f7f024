//! W1, W2a, W2b: mapping a range into a fresh table.

use anyhow::Result;
use nested_paging::HostPhysAddr;
use nested_paging::guest_addr::PAGE_SIZE_4K;

use crate::contender::{Access, Leaves, PageTable};
use crate::workload::{BLOCK_2M, GIB, HOST, Workload, guest, verify_linear};

/// Maps a range into each of some fresh tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    name: &'static str,
    /// The size of the range.
    pub(crate) gibibytes: usize,
    /// Where the range leads.
    pub(crate) host: HostPhysAddr,
    leaves: Leaves,
    leaf_bytes: u64,
    /// Enough for a clock that ticks in tens of nanoseconds, few enough for the second-level cache.
    tables: usize,
}

impl Map {
    /// 1 GiB with leaves of 4 KiB.
    pub(crate) const W1: Self = Self {
        name: "W1",
        gibibytes: 1,
        host: HOST,
        leaves: Leaves::Pages,
        leaf_bytes: PAGE_SIZE_4K,
        tables: 1,
    };
    /// 64 GiB at multiples of 1 GiB.
    pub(crate) const W2A: Self = Self {
        name: "W2a",
        gibibytes: 64,
        host: HOST,
        leaves: Leaves::Largest,
        leaf_bytes: GIB,
        tables: 64,
    };
    /// 64 GiB, the target at a multiple of 2 MiB and not of 1 GiB.
    pub(crate) const W2B: Self = Self {
        name: "W2b",
        gibibytes: 64,
        host: HostPhysAddr::new(HOST.as_u64() + BLOCK_2M),
        leaves: Leaves::Largest,
        leaf_bytes: BLOCK_2M,
        tables: 4,
    };

    /// The size of the leaves that the range is mapped with.
    pub(crate) const fn leaf_shift(&self) -> u32 {
        self.leaf_bytes.trailing_zeros()
    }

    const fn bytes(&self) -> u64 {
        self.gibibytes as u64 * GIB
    }
}

impl Workload for Map {
    fn name(&self) -> &'static str {
        self.name
    }

    fn units(&self) -> u64 {
        self.tables as u64 * (self.bytes() / self.leaf_bytes)
    }

    fn prepare<T: PageTable>(&self) -> Result<Vec<T>> {
        let fresh = |_| T::new(self.leaves);
        (0..self.tables).map(fresh).collect()
    }

    fn run<T: PageTable>(&self, tables: &mut [T]) -> Result<()> {
        let range = guest(self.bytes())?;
        for table in tables {
            table.map(range, self.host, Access::ReadWrite)?;
        }
        Ok(())
    }

    fn verify<T: PageTable>(&self, tables: &[T]) -> Result<()> {
        verify_linear(tables, self.host, self.bytes())
    }
}
