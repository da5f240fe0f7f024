//! Tables written by hand, one small encoding for each architecture, and reference-mmu as the CPUs' walker.

use std::fmt::Debug;
use std::sync::Arc;

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use reference_mmu::{Access, GuestMode, NestedMmu, PhysicalMemory, aarch64, ept, npt, riscv};
use simulated_host::{
    Dsb, EptTlb, Machine, NptTlb, Outcome, Permissions, RiscvTlb, SparseMemory, Stage2Tlb, Step,
    TlbInstruction, TlbModel, Tlbi, Translation, Violation, Violations, Walk, Walker,
};

/// Makes a page walker of `reference-mmu` a [`Walker`].
pub(crate) struct Adapted<M: NestedMmu> {
    input_bits: u32,
    lowest_level: LevelOrder,
    new: fn(u64) -> Option<M>,
    memory_type: fn(M::Attributes) -> u64,
    is_absent: fn(&M::Fault) -> bool,
    is_permission: fn(&M::Fault) -> bool,
}

/// How the architecture numbers its levels.
#[derive(Clone, Copy)]
enum LevelOrder {
    /// Upwards from this number, which is the pages'.
    Up(u8),
    /// Downwards to 3, which is the pages'.
    Down,
}

struct Read<'a>(&'a dyn Fn(HostPhysAddr) -> Option<u64>);

impl PhysicalMemory for Read<'_> {
    fn read(&self, address: HostPhysAddr) -> Option<u64> {
        (self.0)(address)
    }
}

impl<M: NestedMmu> Walker for Adapted<M> {
    fn input_bits(&self) -> u32 {
        self.input_bits
    }

    fn walk(
        &self,
        read: &dyn Fn(HostPhysAddr) -> Option<u64>,
        root_register: u64,
        gpa: GuestPhysAddr,
    ) -> Walk {
        let Some(mmu) = (self.new)(root_register) else {
            return Walk::new(root_register, gpa, 1 << 12, &[], Outcome::Fault);
        };
        let others = [
            Access::Write,
            Access::Execute(GuestMode::Supervisor),
            Access::Execute(GuestMode::User),
        ];
        // A walk tells the permissions only when it succeeds.
        let mut walk = mmu.walk(&Read(read), gpa, Access::Read);
        for access in others {
            match &walk.outcome {
                Err(fault) if (self.is_permission)(fault) => {}
                _ => break,
            }
            walk = mmu.walk(&Read(read), gpa, access);
        }
        let steps: Vec<_> = walk.steps.iter().map(|step| self.step(step)).collect();
        let size = steps
            .last()
            .map_or(1 << 12, |step| 1 << (12 + 9 * step.level));
        let outcome = match &walk.outcome {
            Ok(found) => Outcome::Translation(Translation {
                host: HostPhysAddr::new(found.address.as_u64() & !(size - 1)),
                permissions: permissions(found.permissions),
                memory_type: (self.memory_type)(found.attributes),
            }),
            Err(fault) if (self.is_absent)(fault) => Outcome::Absent,
            Err(_) => Outcome::Fault,
        };
        Walk::new(root_register, gpa, size, &steps, outcome)
    }
}

impl<M: NestedMmu> Adapted<M> {
    fn step(&self, step: &reference_mmu::Step) -> Step {
        Step {
            address: step.entry,
            value: step.value,
            level: match self.lowest_level {
                LevelOrder::Up(lowest) => step.level - lowest,
                LevelOrder::Down => 3 - step.level,
            },
        }
    }
}

fn permissions(granted: reference_mmu::Permissions) -> Permissions {
    [
        (granted.read, Permissions::READ),
        (granted.write, Permissions::WRITE),
        (granted.execute_supervisor, Permissions::EXECUTE),
        (granted.execute_user, Permissions::EXECUTE_USER),
    ]
    .into_iter()
    .filter(|(granted, _)| *granted)
    .fold(Permissions::NONE, |all, (_, one)| all.with(one))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    /// Sv39x4.
    Riscv,
    /// 39 bits of IPA: three levels from level 1.
    Aarch64,
    /// Four levels.
    Ept,
    /// Four levels.
    Npt,
}

pub(crate) const ARCHES: [Arch; 4] = [Arch::Riscv, Arch::Aarch64, Arch::Ept, Arch::Npt];

/// Permissions of leaves that the tests write.
pub(crate) const R: u64 = 1;
pub(crate) const RW: u64 = 3;

/// The ASID of every VMCB, unless a test has a model of its own.
pub(crate) const ASID: u32 = 3;

impl Arch {
    /// Each CPU invalidates for itself, and forgets what it faults for.
    pub(crate) fn is_x86(self) -> bool {
        matches!(self, Self::Ept | Self::Npt)
    }

    pub(crate) fn walker(self) -> Box<dyn Walker> {
        match self {
            Self::Riscv => Box::new(Adapted {
                input_bits: 41,
                lowest_level: LevelOrder::Up(0),
                new: |hgatp| riscv::GStage::new(hgatp, riscv_features()).ok(),
                memory_type: |attributes| u64::from(attributes.pbmt),
                is_absent: |fault| fault.why == riscv::Why::NotValid,
                is_permission: |fault| fault.why == riscv::Why::Permission,
            }),
            Self::Aarch64 => Box::new(Adapted {
                input_bits: 39,
                lowest_level: LevelOrder::Down,
                new: |vttbr| aarch64::Stage2::new(vttbr, VTCR, aarch64_features()).ok(),
                memory_type: |attributes| u64::from(attributes.mem_attr),
                is_absent: |fault| fault.why == aarch64::Why::Invalid,
                is_permission: |fault| fault.why == aarch64::Why::Permission,
            }),
            Self::Ept => Box::new(Adapted {
                input_bits: 48,
                lowest_level: LevelOrder::Up(1),
                new: |eptp| ept::Ept::new(eptp, ept_features()).ok(),
                memory_type: |attributes| u64::from(attributes.memory_type),
                is_absent: |fault| fault.why == ept::Why::NotPresent,
                is_permission: |fault| fault.why == ept::Why::Permission,
            }),
            Self::Npt => Box::new(Adapted {
                input_bits: 48,
                lowest_level: LevelOrder::Up(1),
                new: |n_cr3| npt::Npt::new(n_cr3, npt_features()).ok(),
                memory_type: |attributes| u64::from(attributes.memory_type),
                is_absent: |fault| fault.why == npt::Why::NotPresent,
                is_permission: |fault| fault.why == npt::Why::Permission,
            }),
        }
    }

    pub(crate) fn model(self, cpus: usize) -> Box<dyn TlbModel> {
        match self {
            Self::Riscv => Box::new(RiscvTlb::new(cpus, 14, false)),
            Self::Aarch64 => Box::new(Stage2Tlb::new(cpus, 16)),
            Self::Ept => Box::new(EptTlb::new(cpus)),
            Self::Npt => Box::new(NptTlb::new(cpus, |_| ASID)),
        }
    }

    pub(crate) fn register(self, root: u64, vmid: u64) -> u64 {
        match self {
            Self::Riscv => 8 << 60 | vmid << 44 | root >> 12,
            Self::Aarch64 => vmid << 48 | root,
            Self::Ept => root | 3 << 3 | 6,
            Self::Npt => root,
        }
    }

    pub(crate) fn pointer(self, table: u64) -> u64 {
        match self {
            Self::Riscv => table >> 2 | 1,
            Self::Aarch64 => table | 3,
            Self::Ept | Self::Npt => table | 7,
        }
    }

    /// A leaf at `level` with read (1) and write (2) in `access`.
    pub(crate) fn leaf(self, level: u8, address: u64, access: u64) -> u64 {
        match self {
            Self::Riscv => address >> 2 | 0xd1 | access << 1,
            Self::Aarch64 => {
                let kind = if level == 0 { 3 } else { 1 };
                address | kind | 0xf << 2 | access << 6 | 0x7 << 8 | 1 << 54
            }
            Self::Ept => address | access | 6 << 3 | u64::from(level > 0) << 7,
            // Present, user, and what is readable can be executed.
            Self::Npt => address | access | 5 | u64::from(level > 0) << 7,
        }
    }

    /// The same leaf with another memory type.
    pub(crate) fn uncached(self, leaf: u64) -> u64 {
        match self {
            Self::Riscv => leaf | 1 << 61,
            Self::Aarch64 => leaf & !(0xf << 2) | 0x5 << 2,
            Self::Ept => leaf & !(7 << 3),
            Self::Npt => leaf | 3 << 3,
        }
    }

    /// What makes one CPU (all, on AArch64) forget everything of an address space.
    pub(crate) fn forget(self, register: u64) -> Vec<TlbInstruction> {
        match self {
            Self::Riscv => vec![TlbInstruction::HfenceGvma {
                rs1: None,
                rs2: Some(register >> 44 & 0x3fff),
            }],
            Self::Aarch64 => stage2_sequence(register, &[(Tlbi::VmallS12E1Is, 0)]),
            Self::Ept => vec![TlbInstruction::Invept {
                kind: 1,
                descriptor: [register, 0],
            }],
            Self::Npt => vec![TlbInstruction::Vmrun {
                asid: ASID,
                tlb_control: 3,
            }],
        }
    }
}

/// `DSB ISHST`, the VMID, the operations, `DSB ISH` after each, and back.
pub(crate) fn stage2_sequence(register: u64, operations: &[(Tlbi, u64)]) -> Vec<TlbInstruction> {
    let mut all = vec![
        TlbInstruction::Dsb(Dsb::IshSt),
        TlbInstruction::WriteVttbr(register),
        TlbInstruction::Isb,
    ];
    for &(operation, xt) in operations {
        all.push(TlbInstruction::Tlbi { operation, xt });
        all.push(TlbInstruction::Dsb(Dsb::Ish));
    }
    all.extend([TlbInstruction::RestoreVttbr, TlbInstruction::Isb]);
    all
}

/// T0SZ = 25, SL0 = 1, walks write-back and inner shareable, 48 bits out.
const VTCR: u64 = 25 | 1 << 6 | 1 << 8 | 1 << 10 | 3 << 12 | 5 << 16 | 1 << 19 | 1 << 31;

fn riscv_features() -> riscv::Features {
    riscv::Features {
        pbmte: true,
        ..riscv::Features::default()
    }
}

fn aarch64_features() -> aarch64::Features {
    aarch64::Features {
        pa_range: 5,
        force_write_back: false,
        execute_never_extended: false,
        vmid16: true,
        hardware_access_flag: false,
        hardware_dirty_state: false,
    }
}

fn npt_features() -> npt::Features {
    npt::Features {
        max_phys_addr: 48,
        five_levels: false,
        no_execute: true,
        page_1g: true,
        pat: npt::Features::RESET_PAT,
    }
}

fn ept_features() -> ept::Features {
    ept::Features {
        max_phys_addr: 48,
        execute_only: true,
        walk_length_5: false,
        page_2m: true,
        page_1g: true,
        accessed_dirty: true,
        mode_based_execute: false,
        violation_exceptions: false,
    }
}

pub(crate) const ROOT: u64 = 0x10_0000;
pub(crate) const OTHER_ROOT: u64 = 0x11_0000;
/// Tables that tests may use, for the levels 2, 1 and 0 (level 2 is the root but on x86).
pub(crate) const TABLE_2: u64 = 0x20_2000;
pub(crate) const TABLE_1: u64 = 0x20_1000;
pub(crate) const TABLE_0: u64 = 0x20_0000;
/// Two spare tables.
pub(crate) const SPARE: u64 = 0x20_3000;
pub(crate) const SPARE_1: u64 = 0x20_4000;
pub(crate) const DATA: u64 = 0x4000_0000;
/// The guest page that most tests are about: entry 5 of the table of pages.
pub(crate) const GPA: u64 = 0x5000;

/// Two CPUs over one table in which [`GPA`] is mapped to [`DATA`], read and write.
pub(crate) struct Rig {
    pub(crate) arch: Arch,
    pub(crate) memory: Arc<SparseMemory>,
    pub(crate) violations: Arc<Violations>,
    pub(crate) machine: Machine,
    pub(crate) register: u64,
}

impl Rig {
    pub(crate) fn new(arch: Arch) -> Self {
        Self::with_model(arch, arch.model(2))
    }

    pub(crate) fn with_model(arch: Arch, model: Box<dyn TlbModel>) -> Self {
        let memory = Arc::new(SparseMemory::new());
        assert!(memory.add(HostPhysAddr::new(ROOT), 4, 0));
        assert!(memory.add(HostPhysAddr::new(OTHER_ROOT), 4, 0));
        assert!(memory.add(HostPhysAddr::new(TABLE_0), 5, 0));
        let violations = Arc::new(Violations::default());
        let machine = Machine::new(
            Arc::clone(&memory),
            Arc::clone(&violations),
            model,
            arch.walker(),
        );
        let rig = Self {
            arch,
            memory,
            violations,
            machine,
            register: arch.register(ROOT, 3),
        };
        rig.link(ROOT);
        rig.set(TABLE_0 + 5 * 8, arch.leaf(0, DATA, RW));
        rig
    }

    /// Links the tables below `root`.
    pub(crate) fn link(&self, root: u64) {
        if self.arch.is_x86() {
            self.set(root, self.arch.pointer(TABLE_2));
            self.set(TABLE_2, self.arch.pointer(TABLE_1));
        } else {
            self.set(root, self.arch.pointer(TABLE_1));
        }
        self.set(TABLE_1, self.arch.pointer(TABLE_0));
    }

    /// Where the entry of level 2 for [`GPA`] stands.
    pub(crate) fn level_2(&self) -> u64 {
        if self.arch.is_x86() { TABLE_2 } else { ROOT }
    }

    pub(crate) fn set(&self, address: u64, value: u64) {
        assert!(self.memory.write(HostPhysAddr::new(address), value));
    }

    pub(crate) fn set_page(&self, value: u64) {
        self.set(TABLE_0 + 5 * 8, value);
    }

    pub(crate) fn page(&self, access: u64) -> u64 {
        self.arch.leaf(0, DATA, access)
    }

    /// Both CPUs walk for all of the first 2 MiB.
    pub(crate) fn touch(&self) {
        for gpa in (0..0x20_0000).step_by(0x1000) {
            for cpu in 0..self.machine.cpus() {
                self.machine
                    .touch(cpu, self.register, GuestPhysAddr::new(gpa));
            }
        }
    }

    pub(crate) fn run(&self, instructions: &[TlbInstruction]) {
        self.machine.execute(0, instructions);
    }

    /// All CPUs forget the address space.
    pub(crate) fn forget(&self) {
        let instructions = self.arch.forget(self.register);
        let cpus = if self.arch == Arch::Aarch64 { 1 } else { 2 };
        (0..cpus).for_each(|cpu| self.machine.execute(cpu, &instructions));
    }

    pub(crate) fn check(&self) -> Vec<Violation> {
        self.machine.check();
        self.violations.take()
    }

    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.check(), [], "{:?}", self.arch);
    }
}

/// The violation that all of `violations` are, by its name.
pub(crate) fn names(violations: &[impl Debug]) -> Vec<String> {
    let name = |violation| {
        let text = format!("{violation:?}");
        text.split([' ', '{']).next().unwrap_or_default().to_owned()
    };
    let mut names: Vec<_> = violations.iter().map(name).collect();
    names.sort();
    names.dedup();
    names
}
