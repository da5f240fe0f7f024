//! Machines with the tables of every backend on a simulated host, with reference-mmu as the hardware's
//! walker.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of several test binaries, each of which uses a part"
)]

use std::sync::Arc;

use guest_addr::{GuestPhysAddr, HostPhysAddr, HostPhysRange};
use guest_vm::{
    EmulatedRegion, MapType, MemoryRegion, PassthroughRegion, Population, Vm, VmConfig,
};
use mapping_flags::MappingFlags;
use nested_page_table::{Format, Invalidation};
use reference_mmu::{Access, GuestMode, NestedMmu, PhysicalMemory, aarch64, ept, npt, riscv};
use simulated_host::{
    Dsb, EptTlb, NptTlb, Outcome, Permissions, Placement, RiscvTlb, SimulatedHost, Stage2Tlb, Step,
    TlbInstruction, Tlbi, Translation, Walk, Walker,
};

pub const RW: MappingFlags = MappingFlags::READ_WRITE;
pub const RWX: MappingFlags = MappingFlags::ACCESS;
pub const READ: MappingFlags = MappingFlags::READ;
pub const WRITE: MappingFlags = MappingFlags::WRITE;
pub const PAGE: u64 = 0x1000;
pub const CPUS: usize = 2;

/// An architecture: its format and a machine that walks and remembers as its hardware may.
pub trait Backend {
    type Format: Format;

    fn format() -> Self::Format;

    fn host<const PARTIAL_FREE: bool>(placement: Placement) -> SimulatedHost<PARTIAL_FREE>;
}

pub type TestVm<B, const PARTIAL_FREE: bool = true> =
    Vm<<B as Backend>::Format, Arc<SimulatedHost<PARTIAL_FREE>>>;

pub fn gpa(address: u64) -> GuestPhysAddr {
    GuestPhysAddr::new(address)
}

pub fn hpa(address: u64) -> HostPhysAddr {
    HostPhysAddr::new(address)
}

pub fn host_range(start: u64, size: u64) -> HostPhysRange {
    HostPhysRange::from_start_size(hpa(start), size).unwrap()
}

/// A host whose frames lie right below the format's output width.
pub fn host<B: Backend>() -> Arc<SimulatedHost> {
    let host = B::host(Placement::BelowBits(B::format().geometry().output_bits()));
    host.machine().require_cleaning();
    Arc::new(host)
}

pub fn config<B: Backend>() -> VmConfig<'static, B::Format> {
    VmConfig::new(5, "test", B::format())
}

pub fn ram(start: u64, size: u64, flags: MappingFlags, kind: MapType) -> MemoryRegion<'static> {
    MemoryRegion::new("ram", gpa(start), size, u64::from(flags.bits()), kind)
}

pub fn lazy(start: u64, size: u64, flags: MappingFlags) -> MemoryRegion<'static> {
    ram(start, size, flags, MapType::Alloc).with_population(Population::ON_FIRST_USE)
}

pub fn device(start: u64, host: u64, size: u64) -> PassthroughRegion<'static> {
    PassthroughRegion::new("device", gpa(start), hpa(host), size)
}

pub fn emulated(start: u64, size: u64, device_type: u64) -> EmulatedRegion<'static> {
    EmulatedRegion::new("emulated", gpa(start), size, device_type)
}

/// A machine with one region of RAM.
pub fn vm_with<B: Backend>(host: &Arc<SimulatedHost>, region: MemoryRegion<'static>) -> TestVm<B> {
    let mut config = config::<B>();
    config.memory_regions = vec![region];
    Vm::new(config, Arc::clone(host)).unwrap()
}

/// Where the hardware goes for `address`, by the registers and the memory alone.
pub fn walk<F: Format, const P: bool>(
    vm: &Vm<F, Arc<SimulatedHost<P>>>,
    host: &SimulatedHost<P>,
    address: u64,
) -> Option<(u64, Permissions)> {
    let register = vm.address_space_id().root_register;
    let walk = host.machine().touch(0, register, gpa(address));
    match walk.outcome() {
        Outcome::Translation(found) => {
            let offset = address - walk.gpa().as_u64();
            Some((found.host.as_u64() + offset, found.permissions))
        }
        Outcome::Absent => None,
        Outcome::Fault => panic!("the hardware faults at {address:#x}: {walk:?}"),
    }
}

/// Ends a machine that no CPU will enter any more, and fails if it did not give everything back.
pub fn shut_down<F: Format, const P: bool>(
    vm: Vm<F, Arc<SimulatedHost<P>>>,
    host: &SimulatedHost<P>,
) {
    host.machine().retire(vm.address_space_id().root_register);
    drop(vm);
    assert_eq!(host.simulated_frames().outstanding_count(), 0);
    assert_eq!(host.reserved_regions(), []);
    assert_clean(host);
}

/// Fails if the machine noticed a mistake, or if a CPU believes something that is no longer so.
pub fn assert_clean<const P: bool>(host: &SimulatedHost<P>) {
    host.machine().check();
    assert_eq!(host.take_violations(), []);
}

/// Runs each function as a test on every backend.
#[macro_export]
macro_rules! on_every_backend {
    ($($name:ident),+ $(,)?) => {
        mod riscv64 {
            $(#[test] fn $name() { super::$name::<super::Riscv64>(); })+
        }
        mod aarch64 {
            $(#[test] fn $name() { super::$name::<super::Aarch64>(); })+
        }
        mod x86_64 {
            $(#[test] fn $name() { super::$name::<super::X86>(); })+
        }
        mod amd {
            $(#[test] fn $name() { super::$name::<super::Amd>(); })+
        }
    };
}

/// Sv39x4 with Svpbmt, without Svvptc: absent entries may be cached.
pub struct Riscv64;

impl Backend for Riscv64 {
    type Format = nested_paging_riscv64::GStage;

    fn format() -> Self::Format {
        use nested_paging_riscv64::{Capabilities, GStage, Mode};
        GStage::new(Mode::Sv39x4, Capabilities::common().with_svpbmt(true)).unwrap()
    }

    fn host<const P: bool>(placement: Placement) -> SimulatedHost<P> {
        let walker = Adapted {
            input_bits: 41,
            level_of_pages: 0,
            new: |hgatp| riscv::GStage::new(hgatp, riscv_features()).ok(),
            is_absent: |fault| fault.why == riscv::Why::NotValid,
        };
        SimulatedHost::new(
            placement,
            Box::new(RiscvTlb::new(CPUS, 14, false)),
            Box::new(walker),
            hfences,
        )
    }
}

fn riscv_features() -> riscv::Features {
    riscv::Features {
        pbmte: true,
        ..Default::default()
    }
}

fn hfences(request: &Invalidation) -> Vec<TlbInstruction> {
    use nested_paging_riscv64::Instruction;
    let convert = |Instruction::HfenceGvma { rs1, rs2 }| TlbInstruction::HfenceGvma { rs1, rs2 };
    Riscv64::format()
        .instructions(request)
        .map(convert)
        .collect()
}

/// 40 bits of IPA on 48 bits of PA: a root of two tables.
pub struct Aarch64;

impl Backend for Aarch64 {
    type Format = nested_paging_aarch64::Stage2;

    fn format() -> Self::Format {
        use nested_paging_aarch64::{Capabilities, Mode, Stage2};
        Stage2::new(Mode::ipa(40).unwrap(), Capabilities::common()).unwrap()
    }

    fn host<const P: bool>(placement: Placement) -> SimulatedHost<P> {
        let walker = Adapted {
            input_bits: 40,
            level_of_pages: 3,
            new: |vttbr| {
                let features = aarch64::Features {
                    pa_range: 5,
                    force_write_back: false,
                    execute_never_extended: false,
                    vmid16: false,
                    hardware_access_flag: false,
                    hardware_dirty_state: false,
                };
                aarch64::Stage2::new(vttbr, Self::format().vtcr(), features).ok()
            },
            is_absent: |fault| fault.why == aarch64::Why::Invalid,
        };
        SimulatedHost::new(
            placement,
            Box::new(Stage2Tlb::new(CPUS, 8).with_vtcr(Self::format().vtcr())),
            Box::new(walker),
            tlbis,
        )
    }
}

fn tlbis(request: &Invalidation) -> Vec<TlbInstruction> {
    use nested_paging_aarch64::Instruction as I;
    let tlbi = |operation, xt| TlbInstruction::Tlbi { operation, xt };
    let convert = |instruction| match instruction {
        I::DsbIshst => TlbInstruction::Dsb(Dsb::IshSt),
        I::DsbNshst => TlbInstruction::Dsb(Dsb::NshSt),
        I::DsbIsh => TlbInstruction::Dsb(Dsb::Ish),
        I::DsbNsh => TlbInstruction::Dsb(Dsb::Nsh),
        I::Isb => TlbInstruction::Isb,
        I::WriteVtcr(value) => TlbInstruction::WriteVtcr(value),
        I::WriteVttbr(value) => TlbInstruction::WriteVttbr(value),
        I::TlbiIpas2e1is(xt) => tlbi(Tlbi::Ipas2E1Is, xt),
        I::TlbiIpas2e1(xt) => tlbi(Tlbi::Ipas2E1, xt),
        I::TlbiRipas2e1is(xt) => tlbi(Tlbi::Ripas2E1Is, xt),
        I::TlbiRipas2e1(xt) => tlbi(Tlbi::Ripas2E1, xt),
        I::TlbiVmalle1is => tlbi(Tlbi::VmallE1Is, 0),
        I::TlbiVmalle1 => tlbi(Tlbi::VmallE1, 0),
        I::TlbiVmalls12e1is => tlbi(Tlbi::VmallS12E1Is, 0),
        I::TlbiVmalls12e1 => tlbi(Tlbi::VmallS12E1, 0),
        other => panic!("no counterpart for {other:?}"),
    };
    // The host runs with a VTTBR_EL2 of 0.
    let current = nested_paging_aarch64::Stage2Registers { vtcr: 0, vttbr: 0 };
    Aarch64::format()
        .instructions_from(request, current)
        .map(convert)
        .collect()
}

/// Four levels.
pub struct X86;

impl Backend for X86 {
    type Format = nested_paging_x86_64::Ept;

    fn format() -> Self::Format {
        use nested_paging_x86_64::{Capabilities, Ept, Mode};
        Ept::new(Mode::Ept4, Capabilities::common()).unwrap()
    }

    fn host<const P: bool>(placement: Placement) -> SimulatedHost<P> {
        let walker = Adapted {
            input_bits: 48,
            level_of_pages: 1,
            new: |eptp| {
                let features = ept::Features {
                    max_phys_addr: 52,
                    execute_only: false,
                    walk_length_5: false,
                    page_2m: true,
                    page_1g: true,
                    accessed_dirty: false,
                    mode_based_execute: false,
                    violation_exceptions: false,
                };
                ept::Ept::new(eptp, features).ok()
            },
            is_absent: |fault| fault.why == ept::Why::NotPresent,
        };
        SimulatedHost::new(
            placement,
            Box::new(EptTlb::new(CPUS)),
            Box::new(walker),
            invepts,
        )
    }
}

fn invepts(request: &Invalidation) -> Vec<TlbInstruction> {
    use nested_paging_x86_64::Instruction as I;
    let convert = |instruction| {
        let (kind, descriptor) = match instruction {
            I::InveptSingle { eptp } => (1, [eptp, 0]),
            I::InveptAll => (2, [0, 0]),
        };
        TlbInstruction::Invept { kind, descriptor }
    };
    X86::format().instructions(request).map(convert).collect()
}

/// AMD's tables of four levels, by the format of a hypervisor that chooses at run time.
pub struct Amd;

impl Backend for Amd {
    type Format = nested_paging_x86_64::Nested;

    fn format() -> Self::Format {
        use nested_paging_x86_64::npt::{Capabilities, Mode, Npt};
        Npt::new(Mode::Npt4, Capabilities::common()).unwrap().into()
    }

    fn host<const P: bool>(placement: Placement) -> SimulatedHost<P> {
        let walker = Adapted {
            input_bits: 48,
            level_of_pages: 1,
            new: |ncr3| {
                let features = npt::Features {
                    max_phys_addr: 52,
                    five_levels: false,
                    no_execute: true,
                    page_1g: true,
                    pat: npt::Features::RESET_PAT,
                };
                npt::Npt::new(ncr3, features).ok()
            },
            is_absent: |fault| fault.why == npt::Why::NotPresent,
        };
        SimulatedHost::new(
            placement,
            Box::new(NptTlb::new(CPUS, asid_of)),
            Box::new(walker),
            flushes,
        )
    }
}

/// The machines of a test have different roots, and so different ASIDs. None is 0, the host's.
fn asid_of(ncr3: u64) -> u32 {
    1 + (ncr3 >> 12) as u32 % 0x7fff
}

fn flushes(request: &Invalidation) -> Vec<TlbInstruction> {
    use nested_paging_x86_64::nested::Flush;
    let asid = asid_of(request.space().root_register);
    let convert = |flush| match flush {
        Flush::TlbControl(control) => TlbInstruction::Vmrun {
            asid,
            tlb_control: control.bits(),
        },
        Flush::Invept(instruction) => panic!("no counterpart for {instruction:?}"),
    };
    Amd::format().instructions(request).map(convert).collect()
}

/// Makes a page walker of `reference-mmu` the walker of the simulated CPUs.
struct Adapted<M: NestedMmu> {
    input_bits: u32,
    /// The number that the architecture gives the level of 4 KiB pages. 3 means that it counts
    /// down.
    level_of_pages: u8,
    new: fn(u64) -> Option<M>,
    is_absent: fn(&M::Fault) -> bool,
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
        let mmu = (self.new)(root_register).expect("the root register is legal");
        // A leaf that permits nothing of one kind may permit another.
        let accesses = [Access::Read, Access::Execute(GuestMode::Supervisor)];
        let walks = accesses.map(|access| mmu.walk(&Read(read), gpa, access));
        let found = walks.iter().find(|walk| walk.outcome.is_ok());
        let walk = found.unwrap_or(&walks[0]);
        let steps: Vec<_> = walk
            .steps
            .iter()
            .map(|step| Step {
                address: step.entry,
                value: step.value,
                level: step.level.abs_diff(self.level_of_pages),
            })
            .collect();
        let level = steps.last().map_or(0, |step| step.level);
        let size = 1_u64 << (12 + 9 * level);
        let outcome = match &walk.outcome {
            Ok(found) => Outcome::Translation(Translation {
                host: hpa(found.address.as_u64() & !(size - 1)),
                permissions: permissions(found.permissions),
                memory_type: found.kind as u64,
            }),
            Err(fault) if (self.is_absent)(fault) => Outcome::Absent,
            Err(_) => Outcome::Fault,
        };
        Walk::new(root_register, gpa, size, &steps, outcome)
    }
}

fn permissions(granted: reference_mmu::Permissions) -> Permissions {
    let all = [
        (granted.read, Permissions::READ),
        (granted.write, Permissions::WRITE),
        (granted.execute_supervisor, Permissions::EXECUTE),
        (granted.execute_user, Permissions::EXECUTE_USER),
    ];
    let granted = all.into_iter().filter(|(granted, _)| *granted);
    granted.fold(Permissions::NONE, |sum, (_, one)| sum.with(one))
}

/// What the hardware grants for flags: EXECUTE means both guest modes.
pub fn permissions_of(flags: MappingFlags) -> Permissions {
    permissions(reference_mmu::Permissions {
        read: flags.contains(MappingFlags::READ),
        write: flags.contains(MappingFlags::WRITE),
        execute_user: flags.contains(MappingFlags::EXECUTE),
        execute_supervisor: flags.contains(MappingFlags::EXECUTE),
    })
}
