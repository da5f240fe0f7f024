//! The table of each architecture, and the hardware's view of it.

use axvm_types::NestedPagingConfig;
use guest_addr::GuestPhysAddr;
use nested_paging_aarch64::{self as aarch64, PhysicalAddressRange, Stage2};
use nested_paging_arceos::{
    AllocatorFrames, AxvmFormat, StoppedGuests, Table, ept, g_stage, npt, stage_2,
};
use nested_paging_riscv64::{self as riscv64, GStage};
use nested_paging_x86_64::{self as x86_64, Ept, Nested, Npt};
use reference_mmu::{Access, GuestMode, NestedMmu};

use crate::arena::Arena;

pub(crate) type Host = StoppedGuests<AllocatorFrames<Arena>>;

/// What the tests need of an architecture.
pub(crate) trait Machine: AxvmFormat + Sized {
    /// The formats of the architecture.
    fn all() -> Vec<Self>;

    /// Where the hardware goes for `access`, programmed with nothing but `config`.
    fn reach(
        &self,
        memory: &Arena,
        config: &NestedPagingConfig,
        address: usize,
        access: Access,
    ) -> Option<usize>;

    fn table(self, arena: &Arena) -> Table<Self, Host> {
        // SAFETY: the arena keeps the promises of its frames.
        let frames = unsafe { AllocatorFrames::new(arena.clone()) };
        // SAFETY: no guest runs.
        let host = unsafe { StoppedGuests::new(frames) };
        // SAFETY: `axaddrspace`, and the tests, give back only frames that they were given.
        unsafe { Table::new(self, 0, host) }.unwrap()
    }
}

fn walk<M: NestedMmu>(mmu: &M, memory: &Arena, address: usize, access: Access) -> Option<usize> {
    let walk = mmu.walk(memory, GuestPhysAddr::new(address as u64), access);
    Some(walk.outcome.ok()?.address.as_usize())
}

impl Machine for GStage {
    fn all() -> Vec<Self> {
        let capabilities = riscv64::Capabilities::common();
        [3, 4]
            .map(|levels| g_stage(levels, capabilities).unwrap())
            .to_vec()
    }

    fn reach(
        &self,
        memory: &Arena,
        config: &NestedPagingConfig,
        address: usize,
        access: Access,
    ) -> Option<usize> {
        let hgatp = (config.mode as u64) << 60 | config.root_paddr.as_usize() as u64 >> 12;
        let mmu = reference_mmu::riscv::GStage::new(hgatp, Default::default()).unwrap();
        assert_eq!(mmu.input_bits() as usize, config.gpa_bits);
        walk(&mmu, memory, address, access)
    }
}

impl Machine for Stage2 {
    fn all() -> Vec<Self> {
        let capabilities = aarch64::Capabilities::common()
            .with_physical_address_range(PhysicalAddressRange::Bits48);
        [3, 4]
            .map(|levels| stage_2(levels, capabilities).unwrap())
            .to_vec()
    }

    fn reach(
        &self,
        memory: &Arena,
        config: &NestedPagingConfig,
        address: usize,
        access: Access,
    ) -> Option<usize> {
        let features = reference_mmu::aarch64::Features {
            pa_range: 5,
            force_write_back: false,
            execute_never_extended: false,
            vmid16: false,
            hardware_access_flag: false,
            hardware_dirty_state: false,
        };
        assert_eq!(config.mode, 48);
        let root = config.root_paddr.as_usize() as u64;
        let mmu = reference_mmu::aarch64::Stage2::new(root, self.vtcr(), features).unwrap();
        assert_eq!(mmu.input_bits() as usize, config.gpa_bits);
        walk(&mmu, memory, address, access)
    }
}

impl Machine for Ept {
    fn all() -> Vec<Self> {
        vec![ept(4, x86_64::Capabilities::common()).unwrap()]
    }

    fn reach(
        &self,
        memory: &Arena,
        config: &NestedPagingConfig,
        address: usize,
        access: Access,
    ) -> Option<usize> {
        let features = reference_mmu::ept::Features {
            max_phys_addr: 46,
            execute_only: false,
            walk_length_5: false,
            page_2m: true,
            page_1g: true,
            accessed_dirty: false,
            mode_based_execute: false,
            violation_exceptions: false,
        };
        let eptp = config.root_paddr.as_usize() as u64 | (config.levels as u64 - 1) << 3 | 6;
        let mmu = reference_mmu::ept::Ept::new(eptp, features).unwrap();
        walk(&mmu, memory, address, access)
    }
}

impl Machine for Npt {
    fn all() -> Vec<Self> {
        vec![npt(4, x86_64::npt::Capabilities::common()).unwrap()]
    }

    fn reach(
        &self,
        memory: &Arena,
        config: &NestedPagingConfig,
        address: usize,
        access: Access,
    ) -> Option<usize> {
        let features = reference_mmu::npt::Features {
            max_phys_addr: 40,
            five_levels: config.levels == 5,
            no_execute: true,
            page_1g: true,
            pat: reference_mmu::npt::Features::RESET_PAT,
        };
        let root = config.root_paddr.as_usize() as u64;
        let mmu = reference_mmu::npt::Npt::new(root, features).unwrap();
        walk(&mmu, memory, address, access)
    }
}

/// Either, at run time.
impl Machine for Nested {
    fn all() -> Vec<Self> {
        let ept = Ept::all().into_iter().map(Self::from);
        ept.chain(Npt::all().into_iter().map(Self::from)).collect()
    }

    fn reach(
        &self,
        memory: &Arena,
        config: &NestedPagingConfig,
        address: usize,
        access: Access,
    ) -> Option<usize> {
        match (self.as_ept(), self.as_npt()) {
            (Some(ept), _) => ept.reach(memory, config, address, access),
            (_, Some(npt)) => npt.reach(memory, config, address, access),
            (None, None) => None,
        }
    }
}

pub(crate) const READ: Access = Access::Read;
pub(crate) const WRITE: Access = Access::Write;
pub(crate) const EXECUTE: Access = Access::Execute(GuestMode::Supervisor);
