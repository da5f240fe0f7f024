//! How the reference walker of each architecture is set up for a format's tables.

use guest_addr::HostPhysAddr;
use mapping_flags::{MappingFlags, MemoryType};
use nested_page_table::Format;
use nested_paging_aarch64::Stage2;
use nested_paging_riscv64::GStage;
use nested_paging_x86_64::npt::Mode;
use nested_paging_x86_64::{Ept, Npt};
use reference_mmu::{MemoryKind, NestedMmu, PhysicalMemory, aarch64, ept, npt, riscv};
use simulated_host::SparseMemory;

/// A format whose tables a reference walker reads.
pub(crate) trait Walkable: Format {
    type Mmu: NestedMmu;

    /// The walker with the register that selects a table, and the others that the format needs.
    ///
    /// # Errors
    ///
    /// The registers select no table.
    fn mmu(&self, root_register: u64) -> Result<Self::Mmu, String>;

    /// What the walker has to find for `flags`.
    fn memory_kind(&self, flags: MappingFlags) -> MemoryKind;
}

impl Walkable for GStage {
    type Mmu = riscv::GStage;

    fn mmu(&self, root_register: u64) -> Result<Self::Mmu, String> {
        let features = riscv::Features {
            pbmte: self.capabilities().svpbmt(),
            ..riscv::Features::default()
        };
        riscv::GStage::new(root_register, features).map_err(|error| error.to_string())
    }

    /// Without Svpbmt the platform decides.
    fn memory_kind(&self, flags: MappingFlags) -> MemoryKind {
        match flags.memory_type() {
            MemoryType::Uncached if self.capabilities().svpbmt() => MemoryKind::Uncached,
            MemoryType::Device if self.capabilities().svpbmt() => MemoryKind::Device,
            _ => MemoryKind::Platform,
        }
    }
}

impl Walkable for Stage2 {
    type Mmu = aarch64::Stage2;

    fn mmu(&self, root_register: u64) -> Result<Self::Mmu, String> {
        let features = aarch64::Features {
            pa_range: 5,
            force_write_back: false,
            execute_never_extended: false,
            vmid16: self.capabilities().vmid_bits() == 16,
            hardware_access_flag: false,
            hardware_dirty_state: false,
        };
        aarch64::Stage2::new(root_register, self.vtcr(), features)
            .map_err(|error| error.to_string())
    }

    fn memory_kind(&self, flags: MappingFlags) -> MemoryKind {
        match flags.memory_type() {
            MemoryType::WriteBack => MemoryKind::WriteBack,
            MemoryType::Uncached => MemoryKind::Uncached,
            MemoryType::Device => MemoryKind::Device,
        }
    }
}

impl Walkable for Ept {
    type Mmu = ept::Ept;

    fn mmu(&self, root_register: u64) -> Result<Self::Mmu, String> {
        let features = ept::Features {
            max_phys_addr: 52,
            execute_only: true,
            walk_length_5: true,
            page_2m: true,
            page_1g: true,
            accessed_dirty: false,
            mode_based_execute: false,
            violation_exceptions: false,
        };
        ept::Ept::new(root_register, features).map_err(|error| error.to_string())
    }

    fn memory_kind(&self, flags: MappingFlags) -> MemoryKind {
        match flags.memory_type() {
            MemoryType::WriteBack => MemoryKind::WriteBack,
            MemoryType::Uncached | MemoryType::Device => MemoryKind::Uncacheable,
        }
    }
}

impl Walkable for Npt {
    type Mmu = npt::Npt;

    fn mmu(&self, root_register: u64) -> Result<Self::Mmu, String> {
        let features = npt::Features {
            max_phys_addr: 52,
            five_levels: self.mode() == Mode::Npt5,
            no_execute: true,
            page_1g: true,
            pat: self.capabilities().pat().bits(),
        };
        npt::Npt::new(root_register, features).map_err(|error| error.to_string())
    }

    /// UC-, which is uncached, is no type of its own for the walker.
    fn memory_kind(&self, flags: MappingFlags) -> MemoryKind {
        match flags.memory_type() {
            MemoryType::WriteBack => MemoryKind::WriteBack,
            MemoryType::Uncached => MemoryKind::Other,
            MemoryType::Device => MemoryKind::Uncacheable,
        }
    }
}

/// Simulated memory as a walker sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WalkerMemory<'m>(pub(crate) &'m SparseMemory);

impl PhysicalMemory for WalkerMemory<'_> {
    fn read(&self, address: HostPhysAddr) -> Option<u64> {
        self.0.read(address)
    }
}
