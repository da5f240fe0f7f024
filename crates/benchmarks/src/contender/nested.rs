//! This project's table.
#![expect(unsafe_code, reason = "vouches for a host without CPUs")]

use std::cell::Cell;
use std::hint::black_box;
use std::marker::PhantomData;

use anyhow::Result;
use nested_paging::nested_page_table::{Format, InvalidationFailed, LeafPolicy, Level};
use nested_paging::{
    GuestPhysAddr, GuestPhysRange, HostPhysAddr, Invalidation, MappingFlags, NestedPageTable,
    TableHost, aarch64, riscv64, x86_64,
};

use crate::contender::{ALL_ACCESS, Access, Leaf, Leaves, PageTable, Promises};
use crate::frames::StackFrames;

/// A backend, with the mode and capabilities that it is measured with: four levels on each.
pub(crate) trait Backend {
    /// The name in reports.
    const NAME: &'static str;
    /// The format.
    type Format: Format;

    /// The format with its mode and capabilities.
    fn format() -> Result<Self::Format>;

    /// The names of the instructions that one CPU carries out `request` with, in order.
    fn instructions(format: &Self::Format, request: &Invalidation) -> Vec<&'static str>;
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

    fn instructions(format: &Self::Format, request: &Invalidation) -> Vec<&'static str> {
        let name = |instruction| match instruction {
            x86_64::Instruction::InveptSingle { .. } => "INVEPT single-context",
            x86_64::Instruction::InveptAll => "INVEPT all-context",
        };
        format.instructions(request).map(name).collect()
    }
}

/// The same tables by the format that is EPT or NPT at run time.
pub(crate) struct EptOrNpt;

impl Backend for EptOrNpt {
    const NAME: &'static str = "nested-page-table/ept-or-npt";
    type Format = x86_64::Nested;

    /// The compiler must not know which of the two it is.
    fn format() -> Result<Self::Format> {
        Ok(black_box(Ept::format()?.into()))
    }

    fn instructions(format: &Self::Format, request: &Invalidation) -> Vec<&'static str> {
        let name = |flush| match flush {
            x86_64::nested::Flush::Invept(_) => "INVEPT",
            x86_64::nested::Flush::TlbControl(_) => "TLB_CONTROL",
        };
        format.instructions(request).map(name).collect()
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

    fn instructions(format: &Self::Format, request: &Invalidation) -> Vec<&'static str> {
        use aarch64::Instruction as Name;

        let name = |instruction| match instruction {
            Name::TlbiIpas2e1is(_) | Name::TlbiIpas2e1(_) => "TLBI IPAS2E1",
            Name::TlbiRipas2e1is(_) | Name::TlbiRipas2e1(_) => "TLBI RIPAS2E1",
            Name::TlbiVmalle1is | Name::TlbiVmalle1 => "TLBI VMALLE1",
            Name::TlbiVmalls12e1is | Name::TlbiVmalls12e1 => "TLBI VMALLS12E1",
            Name::WriteVttbr(_) => "MSR VTTBR_EL2",
            _ => "barriers",
        };
        format.instructions(request).map(name).collect()
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

    fn instructions(format: &Self::Format, request: &Invalidation) -> Vec<&'static str> {
        let name = |instruction| match instruction {
            riscv64::Instruction::HfenceGvma { rs1: Some(_), .. } => "HFENCE.GVMA address",
            riscv64::Instruction::HfenceGvma { rs1: None, .. } => "HFENCE.GVMA VMID",
        };
        format.instructions(request).map(name).collect()
    }
}

/// A host for a table in the format `F`.
pub(crate) trait BenchmarkHost<F>: TableHost<Frames = StackFrames> {
    /// A host for a table in this format.
    fn new(format: F) -> Self;
}

/// Takes what a hypervisor would read of a request, counts it, and does nothing else.
#[derive(Debug, Default)]
pub(crate) struct CountingHost {
    requests: Cell<u64>,
}

impl<F> BenchmarkHost<F> for CountingHost {
    fn new(_format: F) -> Self {
        Self::default()
    }
}

// SAFETY: the frames are one value, and no CPU walks the tables of a benchmark.
unsafe impl TableHost for CountingHost {
    type Frames = StackFrames;

    #[inline]
    fn frames(&self) -> &StackFrames {
        &StackFrames
    }

    #[inline]
    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        self.requests.set(self.requests.get() + 1);
        black_box(request);
        Ok(())
    }
}

/// The table with the backend `B`.
pub(crate) struct Nested<B: Backend, H: TableHost = CountingHost> {
    table: NestedPageTable<B::Format, H>,
    backend: PhantomData<B>,
}

impl<B: Backend, H: TableHost> Nested<B, H> {
    /// The host.
    pub(crate) fn host(&self) -> &H {
        self.table.host()
    }
}

/// What a guest may do, as this project says it.
#[inline(always)]
const fn mapping_flags(access: Access) -> MappingFlags {
    match access {
        Access::Read => MappingFlags::READ,
        Access::ReadExecute => MappingFlags::READ.union(MappingFlags::EXECUTE),
        Access::ReadWrite => MappingFlags::READ_WRITE,
        Access::ReadWriteExecute => MappingFlags::ACCESS,
    }
}

impl<B: Backend, H: BenchmarkHost<B::Format>> PageTable for Nested<B, H> {
    const NAME: &'static str = B::NAME;
    const PROMISES: Promises = Promises::LiveAndAtomic;

    fn new(leaves: Leaves) -> Result<Self> {
        let format = B::format()?;
        let table = NestedPageTable::new(format, 1, H::new(format))?;
        let policy = match leaves {
            Leaves::Pages => LeafPolicy::up_to(Level::PAGE_4K),
            Leaves::Largest => LeafPolicy::HARDWARE,
        };
        Ok(Self {
            table: table.with_leaf_policy(policy),
            backend: PhantomData,
        })
    }

    #[inline(always)]
    fn map(&mut self, guest: GuestPhysRange, host: HostPhysAddr, access: Access) -> Result<()> {
        Ok(self.table.map(guest, host, mapping_flags(access))?)
    }

    #[inline(always)]
    fn unmap(&mut self, guest: GuestPhysRange) -> Result<()> {
        Ok(self.table.unmap(guest)?)
    }

    /// The report has no flags: whoever wants them visits before.
    #[inline(always)]
    fn unmap_reporting(
        &mut self,
        guest: GuestPhysRange,
        mut report: impl FnMut(Leaf),
    ) -> Result<()> {
        self.table.unmap_reporting(guest, |leaf| {
            report(Leaf {
                host: leaf.host,
                bytes: leaf.guest.size(),
                flags: 0,
            });
        })?;
        Ok(())
    }

    #[inline(always)]
    fn protect(&mut self, guest: GuestPhysRange, access: Access) -> Result<()> {
        Ok(self.table.protect(guest, mapping_flags(access))?)
    }

    #[inline(always)]
    fn host_of(&self, address: GuestPhysAddr) -> Option<HostPhysAddr> {
        self.table.host_of(address)
    }

    #[inline(always)]
    fn translate(&self, address: GuestPhysAddr) -> Option<Leaf> {
        let mapping = self.table.translate(address)?;
        Some(Leaf {
            host: mapping.host_of(address)?,
            bytes: mapping.size(),
            flags: u64::from(mapping.flags.bits()),
        })
    }

    #[inline(always)]
    fn visit(&self, guest: GuestPhysRange, mut visitor: impl FnMut(Leaf)) -> Result<()> {
        self.table.visit(guest, |mapping| {
            visitor(Leaf {
                host: mapping.host,
                bytes: mapping.size(),
                flags: u64::from(mapping.flags.bits()),
            });
        });
        Ok(())
    }

    fn access(flags: u64) -> Option<Access> {
        let flags = MappingFlags::from_bits(flags.try_into().ok()?)?;
        ALL_ACCESS
            .into_iter()
            .find(|access| mapping_flags(*access) == flags)
    }
}
