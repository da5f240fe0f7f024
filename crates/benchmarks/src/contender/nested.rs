//! This project's table.

use std::cell::Cell;
use std::hint::black_box;
use std::marker::PhantomData;

use anyhow::Result;
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::nested_page_table::{Format, LeafPolicy, Level};
use nested_paging::{
    GuestPhysAddr, GuestPhysRange, HostPhysAddr, Invalidation, MappingFlags, NestedPageTable,
    TableHost, aarch64, riscv64, x86_64,
};

use crate::contender::{Leaves, PageTable};
use crate::frames::StackFrames;

/// A backend, with the mode and capabilities that it is measured with: four levels on each.
pub(crate) trait Backend {
    /// The name in reports.
    const NAME: &'static str;
    /// The format.
    type Format: Format;

    /// The format with its mode and capabilities.
    fn format() -> Result<Self::Format>;
}

/// Extended page tables of 4 levels.
pub(crate) struct Ept;

impl Backend for Ept {
    const NAME: &'static str = "nested-page-table/ept";
    type Format = x86_64::Ept;

    fn format() -> Result<Self::Format> {
        let capabilities = x86_64::Capabilities::common();
        Ok(x86_64::Ept::new(x86_64::Mode::Ept4, capabilities)?)
    }
}

/// AArch64 stage 2 with 48 bits of intermediate physical address.
pub(crate) struct Stage2;

impl Backend for Stage2 {
    const NAME: &'static str = "nested-page-table/stage2";
    type Format = aarch64::Stage2;

    fn format() -> Result<Self::Format> {
        let capabilities = aarch64::Capabilities::common();
        Ok(aarch64::Stage2::new(aarch64::Mode::IPA48, capabilities)?)
    }
}

/// The RISC-V G-stage in mode Sv48x4, without extensions.
pub(crate) struct GStage;

impl Backend for GStage {
    const NAME: &'static str = "nested-page-table/g-stage";
    type Format = riscv64::GStage;

    fn format() -> Result<Self::Format> {
        let capabilities = riscv64::Capabilities::common();
        Ok(riscv64::GStage::new(riscv64::Mode::Sv48x4, capabilities)?)
    }
}

/// Takes what a hypervisor would read of a request, counts it, and does nothing else.
#[derive(Debug, Default)]
pub(crate) struct CountingHost {
    requests: Cell<u64>,
}

impl TableHost for CountingHost {
    type Frames = StackFrames;

    #[inline]
    fn frames(&self) -> &StackFrames {
        &StackFrames
    }

    #[inline]
    fn invalidate(&self, request: &Invalidation) {
        self.requests.set(self.requests.get() + 1);
        black_box(request.space());
        for range in request.ranges() {
            black_box(*range);
        }
    }
}

/// The table with the backend `B`.
pub(crate) struct Nested<B: Backend> {
    table: NestedPageTable<B::Format, CountingHost>,
    backend: PhantomData<B>,
}

/// The page at `address`.
#[inline]
fn page(address: GuestPhysAddr) -> Result<GuestPhysRange> {
    Ok(GuestPhysRange::from_start_size(address, PAGE_SIZE_4K)?)
}

impl<B: Backend> PageTable for Nested<B> {
    const NAME: &'static str = B::NAME;

    fn new(leaves: Leaves) -> Result<Self> {
        let table = NestedPageTable::new(B::format()?, 1, CountingHost::default())?;
        let policy = match leaves {
            Leaves::Pages => LeafPolicy::up_to(Level::PAGE_4K),
            Leaves::Largest => LeafPolicy::HARDWARE,
        };
        Ok(Self {
            table: table.with_leaf_policy(policy),
            backend: PhantomData,
        })
    }

    #[inline]
    fn map(&mut self, guest: GuestPhysRange, host: HostPhysAddr) -> Result<()> {
        Ok(self.table.map(guest, host, MappingFlags::READ_WRITE)?)
    }

    #[inline]
    fn unmap(&mut self, guest: GuestPhysRange) -> Result<()> {
        Ok(self.table.unmap(guest)?)
    }

    #[inline]
    fn protect(&mut self, guest: GuestPhysRange) -> Result<()> {
        Ok(self.table.protect(guest, MappingFlags::READ)?)
    }

    #[inline]
    fn map_page(&mut self, guest: GuestPhysAddr, host: HostPhysAddr) -> Result<()> {
        self.map(page(guest)?, host)
    }

    #[inline]
    fn unmap_page(&mut self, guest: GuestPhysAddr) -> Result<()> {
        self.unmap(page(guest)?)
    }

    #[inline]
    fn translate(&self, address: GuestPhysAddr) -> Option<HostPhysAddr> {
        self.table.translate(address)?.host_of(address)
    }

    fn is_writable(&self, address: GuestPhysAddr) -> Option<bool> {
        let flags = self.table.translate(address)?.flags;
        Some(flags.contains(MappingFlags::WRITE))
    }
}
