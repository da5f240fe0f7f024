//! The backends with the capabilities that make a difference.

use std::sync::Arc;

use mapping_flags::MappingFlags;
use nested_page_table::{Format, Invalidation, LeafPolicy, Level, NestedPageTable};
use nested_paging_aarch64 as aarch64;
use nested_paging_riscv64 as riscv64;
use nested_paging_x86_64 as x86_64;
use nested_paging_x86_64::nested::Flush;
use nested_paging_x86_64::npt::TlbControl;
use reference_mmu::MemoryKind;
use simulated_host::{
    Dsb, EptTlb, NptTlb, Placement, RiscvTlb, SimulatedHost, Stage2Tlb, TlbInstruction, TlbModel,
    Tlbi,
};

use crate::reference::{Reference, ReferenceWalker};
use crate::strict::Strict;
use crate::variant::{HostOwner, Table, Variant};

const CPUS: usize = 2;

fn variant<F: Format, R: Reference + Clone>(
    format: F,
    vmid: u16,
    policy: LeafPolicy,
    tlb: impl TlbModel + 'static,
    reference: R,
    convert: impl Fn(&F, &Invalidation) -> Vec<TlbInstruction> + Send + Sync + 'static,
) -> Variant {
    let geometry = *format.geometry();
    let walker = ReferenceWalker {
        reference: reference.clone(),
        input_bits: geometry.input_bits(),
    };
    let placement = match vmid % 2 {
        0 => Placement::FromZero,
        _ => Placement::BelowBits(geometry.output_bits()),
    };
    let convert = move |request: &Invalidation| convert(&format, request);
    let host = Box::into_raw(Box::new(SimulatedHost::new(
        placement,
        Box::new(tlb),
        Box::new(walker),
        convert,
    )));
    Variant {
        geometry,
        policy,
        absent: format.absent(),
        rules: format.rules(),
        decode: Arc::new(move |level, bits| format.decode(level, bits)),
        check_flags: Box::new(move |flags| format.check_flags(flags)),
        // SAFETY: the box was just leaked; its owner below frees it after the table is gone.
        host: unsafe { &*host },
        reference: Box::new(reference),
        new_table: Box::new(move |host| {
            let table = NestedPageTable::new(Strict::new(format), vmid, host).ok()?;
            Some(Box::new(table.with_leaf_policy(policy)) as Box<dyn Table>)
        }),
        // SAFETY: the pointer came from a box, and this is the last use of it.
        owner: HostOwner::new(move || drop(unsafe { Box::from_raw(host) })),
    }
}

/// Every other number restricts leaves.
fn policy(number: u8) -> LeafPolicy {
    match number % 4 {
        1 => LeafPolicy::up_to(Level::BLOCK_2M).with_largest_executable(Level::PAGE_4K),
        2 => LeafPolicy::up_to(Level::BLOCK_1G),
        _ => LeafPolicy::HARDWARE,
    }
}

#[derive(Clone)]
struct RiscvReference(reference_mmu::riscv::Features);

impl Reference for RiscvReference {
    type Mmu = reference_mmu::riscv::GStage;

    fn mmu(&self, root_register: u64) -> Self::Mmu {
        reference_mmu::riscv::GStage::new(root_register, self.0).unwrap()
    }

    fn is_absent(fault: &reference_mmu::riscv::Fault) -> bool {
        fault.why == reference_mmu::riscv::Why::NotValid
    }

    fn height(level: u8) -> u8 {
        level
    }

    fn memory_type(attributes: &reference_mmu::riscv::Attributes) -> u64 {
        u64::from(attributes.pbmt)
    }

    fn expected_kind(&self, flags: MappingFlags) -> MemoryKind {
        match (self.0.pbmte, flags.intersection(MappingFlags::MEMORY_TYPE)) {
            (true, MappingFlags::DEVICE) => MemoryKind::Device,
            (true, MappingFlags::UNCACHED) => MemoryKind::Uncached,
            _ => MemoryKind::Platform,
        }
    }
}

pub(crate) const RISCV: fn(&str, u8) -> Variant = |mode, number| {
    let (svpbmt, svvptc, tracking) = (number & 1 == 0, number & 2 == 0, number & 4 == 0);
    let capabilities = riscv64::Capabilities::common()
        .with_svpbmt(svpbmt)
        .with_svvptc(svvptc)
        .with_accessed_dirty_tracking(tracking);
    let format = riscv64::GStage::new(mode.parse().unwrap(), capabilities).unwrap();
    let features = reference_mmu::riscv::Features {
        pbmte: svpbmt,
        adue: tracking,
        ..Default::default()
    };
    let tlb = RiscvTlb::new(CPUS, 14, svvptc);
    let convert = |format: &riscv64::GStage, request: &Invalidation| {
        let raw = |instruction| match instruction {
            riscv64::Instruction::HfenceGvma { rs1, rs2 } => {
                TlbInstruction::HfenceGvma { rs1, rs2 }
            }
        };
        format.instructions(request).map(raw).collect()
    };
    let vmid = 0x2a50 | u16::from(number);
    variant(
        format,
        vmid,
        policy(number),
        tlb,
        RiscvReference(features),
        convert,
    )
};

#[derive(Clone)]
struct Stage2Reference {
    vtcr: u64,
    features: reference_mmu::aarch64::Features,
}

impl Reference for Stage2Reference {
    type Mmu = reference_mmu::aarch64::Stage2;

    fn mmu(&self, root_register: u64) -> Self::Mmu {
        reference_mmu::aarch64::Stage2::new(root_register, self.vtcr, self.features).unwrap()
    }

    fn is_absent(fault: &reference_mmu::aarch64::Fault) -> bool {
        fault.why == reference_mmu::aarch64::Why::Invalid
    }

    fn height(level: u8) -> u8 {
        3 - level
    }

    fn memory_type(attributes: &reference_mmu::aarch64::Attributes) -> u64 {
        assert_eq!(attributes.shareability, 3, "everything is inner shareable");
        u64::from(attributes.mem_attr)
    }

    fn expected_kind(&self, flags: MappingFlags) -> MemoryKind {
        match flags.intersection(MappingFlags::MEMORY_TYPE) {
            MappingFlags::DEVICE => MemoryKind::Device,
            MappingFlags::UNCACHED => MemoryKind::Uncached,
            _ => MemoryKind::WriteBack,
        }
    }
}

pub(crate) const AARCH64: fn(&str, u8) -> Variant = |mode, number| {
    let (fwb, tracking, range) = (number & 1 == 0, number & 2 == 0, number & 4 == 0);
    let mut capabilities = aarch64::Capabilities::common()
        .with_physical_address_range(aarch64::PhysicalAddressRange::Bits48);
    if fwb {
        capabilities = capabilities.with_forced_write_back();
    }
    if tracking {
        capabilities = capabilities.with_accessed_tracking().with_dirty_tracking();
    }
    if range {
        capabilities = capabilities
            .with_tlb_range()
            .with_tlb_level_hint()
            .with_16_bit_vmid();
    }
    let repeats = number & 3 == 1;
    if repeats {
        capabilities = capabilities.with_repeat_tlbi();
    }
    let format = aarch64::Stage2::new(mode.parse().unwrap(), capabilities).unwrap();
    let reference = Stage2Reference {
        vtcr: format.vtcr(),
        features: reference_mmu::aarch64::Features {
            pa_range: 5,
            force_write_back: fwb,
            execute_never_extended: false,
            vmid16: range,
            hardware_access_flag: true,
            hardware_dirty_state: true,
        },
    };
    let mut tlb = Stage2Tlb::new(CPUS, if range { 16 } else { 8 }).with_vtcr(format.vtcr());
    if repeats {
        tlb = tlb.with_late_completion();
    }
    let convert = |format: &aarch64::Stage2, request: &Invalidation| {
        // The CPUs of the model begin with both registers 0 and run no guest in between.
        let current = aarch64::Stage2Registers { vtcr: 0, vttbr: 0 };
        format
            .instructions_from(request, current)
            .map(stage2_instruction)
            .collect()
    };
    let vmid = 0x50 | u16::from(number);
    variant(format, vmid, policy(number), tlb, reference, convert)
};

fn stage2_instruction(instruction: aarch64::Instruction) -> TlbInstruction {
    use aarch64::Instruction as I;
    let tlbi = |operation, xt| TlbInstruction::Tlbi { operation, xt };
    match instruction {
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
        I::TlbiVale2is(xt) => tlbi(Tlbi::ValE2Is, xt),
        other => panic!("an instruction that the model does not know: {other:?}"),
    }
}

#[derive(Clone)]
struct EptReference(reference_mmu::ept::Features);

impl Reference for EptReference {
    type Mmu = reference_mmu::ept::Ept;

    fn mmu(&self, root_register: u64) -> Self::Mmu {
        reference_mmu::ept::Ept::new(root_register, self.0).unwrap()
    }

    fn is_absent(fault: &reference_mmu::ept::Fault) -> bool {
        assert!(!fault.convertible, "the guest would get a #VE: {fault:?}");
        fault.why == reference_mmu::ept::Why::NotPresent
    }

    fn height(level: u8) -> u8 {
        level - 1
    }

    fn memory_type(attributes: &reference_mmu::ept::Attributes) -> u64 {
        u64::from(attributes.memory_type) | u64::from(attributes.ignore_pat) << 3
    }

    fn expected_kind(&self, flags: MappingFlags) -> MemoryKind {
        match flags.intersects(MappingFlags::MEMORY_TYPE) {
            true => MemoryKind::Uncacheable,
            false => MemoryKind::WriteBack,
        }
    }
}

pub(crate) const EPT: fn(&str, u8) -> Variant = |mode, number| {
    let format = ept(mode, number);
    ept_variant(format, format, number, |format, request| {
        let flushes = format.instructions(request).map(Flush::Invept);
        flushes.map(|step| flush(step, 0)).collect()
    })
};

/// EPT by the format that is EPT or NPT.
pub(crate) const NESTED_EPT: fn(&str, u8) -> Variant = |mode, number| {
    let format = ept(mode, number);
    ept_variant(
        x86_64::Nested::from(format),
        format,
        number,
        |format, request| {
            let flushes = format.instructions(request);
            flushes.map(|step| flush(step, 0)).collect()
        },
    )
};

fn ept(mode: &str, number: u8) -> x86_64::Ept {
    let (large, tracking, mbec) = (number & 1 == 0, number & 2 == 0, number & 4 == 0);
    let executes_from_large = number & 2 == 0;
    // With and without each of the others.
    let suppress_ve = number.is_multiple_of(3);
    let execute = match mbec {
        true => x86_64::ExecuteControl::BothModes,
        false => x86_64::ExecuteControl::Single,
    };
    let capabilities = x86_64::Capabilities::common()
        .with_physical_address_bits(46)
        .with_largest_leaf(if large {
            Level::BLOCK_1G
        } else {
            Level::BLOCK_2M
        })
        .with_execute_only(large)
        .with_execute_control(execute)
        .with_accessed_dirty_tracking(tracking)
        .with_suppress_ve(suppress_ve)
        .with_single_context_invept(large)
        .with_large_executable_leaves(executes_from_large);
    x86_64::Ept::new(mode.parse().unwrap(), capabilities).unwrap()
}

fn ept_variant<F: Format>(
    format: F,
    ept: x86_64::Ept,
    number: u8,
    convert: impl Fn(&F, &Invalidation) -> Vec<TlbInstruction> + Send + Sync + 'static,
) -> Variant {
    let machine = ept.capabilities();
    let features = reference_mmu::ept::Features {
        max_phys_addr: 46,
        execute_only: machine.execute_only(),
        walk_length_5: true,
        page_2m: true,
        page_1g: machine.largest_leaf() == Level::BLOCK_1G,
        accessed_dirty: machine.accessed_dirty_tracking(),
        mode_based_execute: machine.execute_control() != x86_64::ExecuteControl::Single,
        violation_exceptions: machine.suppress_ve(),
    };
    let mut variant = variant(
        format,
        u16::from(number),
        policy(number),
        EptTlb::new(CPUS),
        EptReference(features),
        convert,
    );
    if !machine.large_executable_leaves() {
        // The table is not told: the format insists.
        variant.policy = variant.policy.with_largest_executable(Level::PAGE_4K);
    }
    variant
}

/// One step of an invalidation on x86, where the guest runs with `asid`.
fn flush(step: Flush, asid: u32) -> TlbInstruction {
    let tlb_control = match step {
        Flush::Invept(instruction) => {
            let (kind, descriptor) = instruction.operands();
            return TlbInstruction::Invept { kind, descriptor };
        }
        Flush::TlbControl(control) => control.bits(),
    };
    TlbInstruction::Vmrun { asid, tlb_control }
}

#[derive(Clone)]
struct NptReference(reference_mmu::npt::Features);

impl Reference for NptReference {
    type Mmu = reference_mmu::npt::Npt;

    fn mmu(&self, root_register: u64) -> Self::Mmu {
        reference_mmu::npt::Npt::new(root_register, self.0).unwrap()
    }

    fn is_absent(fault: &reference_mmu::npt::Fault) -> bool {
        fault.why == reference_mmu::npt::Why::NotPresent
    }

    fn height(level: u8) -> u8 {
        level - 1
    }

    fn memory_type(attributes: &reference_mmu::npt::Attributes) -> u64 {
        u64::from(attributes.memory_type)
    }

    /// UC- and WC, which are uncached, are neither of the types that have a name.
    fn expected_kind(&self, flags: MappingFlags) -> MemoryKind {
        match flags.intersection(MappingFlags::MEMORY_TYPE) {
            MappingFlags::DEVICE => MemoryKind::Uncacheable,
            MappingFlags::UNCACHED => MemoryKind::Other,
            _ => MemoryKind::WriteBack,
        }
    }
}

pub(crate) const NPT: fn(&str, u8) -> Variant = |mode, number| {
    let format = npt(mode, number);
    npt_variant(
        format,
        format,
        number,
        move |format, request| match format.tlb_control(request) {
            TlbControl::Nothing => vec![],
            control => vec![flush(Flush::TlbControl(control), asid(number))],
        },
    )
};

/// NPT by the format that is EPT or NPT.
pub(crate) const NESTED_NPT: fn(&str, u8) -> Variant = |mode, number| {
    let format = npt(mode, number);
    npt_variant(
        x86_64::Nested::from(format),
        format,
        number,
        move |format, request| {
            let flushes = format.instructions(request);
            flushes.map(|step| flush(step, asid(number))).collect()
        },
    )
};

/// ASID 0 is the host's.
fn asid(number: u8) -> u32 {
    1 + u32::from(number)
}

fn npt(mode: &str, number: u8) -> x86_64::Npt {
    let (large, tracking, by_asid) = (number & 1 == 0, number & 2 == 0, number & 4 == 0);
    // Entries 0 to 3 as after reset, as Linux sets them, and without UC-. What sets the PAT bit gets WT.
    let pats = [
        0x0404_0404_0007_0406,
        0x0404_0404_0007_0106,
        0x0404_0404_0001_0406,
    ];
    let capabilities = x86_64::npt::Capabilities::common()
        .with_physical_address_bits(46)
        .with_largest_leaf(if large {
            Level::BLOCK_1G
        } else {
            Level::BLOCK_2M
        })
        .with_pat(x86_64::npt::Pat::new(pats[usize::from(number % 3)]))
        .with_accessed_dirty_tracking(tracking)
        .with_flush_by_asid(by_asid);
    x86_64::Npt::new(mode.parse().unwrap(), capabilities).unwrap()
}

fn npt_variant<F: Format>(
    format: F,
    npt: x86_64::Npt,
    number: u8,
    convert: impl Fn(&F, &Invalidation) -> Vec<TlbInstruction> + Send + Sync + 'static,
) -> Variant {
    let machine = npt.capabilities();
    let features = reference_mmu::npt::Features {
        max_phys_addr: 46,
        five_levels: npt.mode() == x86_64::npt::Mode::Npt5,
        no_execute: true,
        page_1g: machine.largest_leaf() == Level::BLOCK_1G,
        pat: machine.pat().bits(),
    };
    let asid = asid(number);
    let vmid = asid as u16;
    let tlb = NptTlb::new(CPUS, move |_| asid);
    let reference = NptReference(features);
    variant(format, vmid, policy(number), tlb, reference, convert)
}
