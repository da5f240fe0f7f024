//! What the hardware makes of a register or an entry: `reference-mmu` says it.

use std::cell::Cell;

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use reference_mmu::{Access, GuestMode, NestedMmu, PhysicalMemory, aarch64, ept, npt, riscv};

use super::Tables;

/// A hart that has every extension that gives a bit of an entry a meaning.
const HART: riscv::Features = riscv::Features {
    pbmte: true,
    adue: true,
    svnapot: true,
    svrsw60t59b: false,
};
/// The same of a processing element. With FWB memory types would mean something else.
const ELEMENT: aarch64::Features = aarch64::Features {
    pa_range: 6,
    force_write_back: false,
    execute_never_extended: true,
    vmid16: true,
    hardware_access_flag: true,
    hardware_dirty_state: true,
};
/// The same of a processor.
const PROCESSOR: ept::Features = ept::Features {
    max_phys_addr: 52,
    execute_only: true,
    walk_length_5: true,
    page_2m: true,
    page_1g: true,
    accessed_dirty: true,
    mode_based_execute: false,
    violation_exceptions: false,
};
/// The same of an AMD processor, with five levels, so that every level can be asked about.
const HOST: npt::Features = npt::Features {
    max_phys_addr: 52,
    five_levels: true,
    no_execute: true,
    page_1g: true,
    pat: npt::Features::RESET_PAT,
};

/// Whether a hart with every extension takes the register, and why not.
pub(super) fn hgatp(value: u64) -> Option<String> {
    let error = riscv::GStage::new(value, HART).err()?;
    Some(error.to_string())
}

/// The same of both registers of stage 2. A root that is not known is taken to be right.
pub(super) fn stage2(vtcr: u64, vttbr: Option<u64>) -> Option<String> {
    let error = aarch64::Stage2::new(vttbr.unwrap_or(0), vtcr, ELEMENT).err()?;
    Some(error.to_string())
}

/// The same of EPTP.
pub(super) fn eptp(value: u64) -> Option<String> {
    let error = ept::Ept::new(value, PROCESSOR).err()?;
    Some(error.to_string())
}

/// The same of nCR3.
pub(super) fn ncr3(value: u64) -> Option<String> {
    let error = npt::Npt::new(value, HOST).err()?;
    Some(error.to_string())
}

/// What an entry of `level` does: the outcome of a walk that finds it.
pub(super) fn entry(tables: Tables, level: u8, value: u64) -> Option<String> {
    // The root is where none of the tables is that the pointers on the way lead to.
    match tables {
        Tables::Riscv { .. } => {
            let mmu = riscv::GStage::new(10 << 60 | 0x4_0000, HART).ok()?;
            Some(outcome(&mmu, 4 - level, 0x1000 >> 2 | 1, value))
        }
        Tables::Aarch64 => {
            let mmu = aarch64::Stage2::new(0x4000_0000, 0x8005_3590, ELEMENT).ok()?;
            Some(outcome(&mmu, level, 0x1003, value))
        }
        Tables::Ept { .. } => {
            let mmu = ept::Ept::new(0x4000_0000 | 4 << 3 | 6, PROCESSOR).ok()?;
            Some(outcome(&mmu, 5 - level, 0x1007, value))
        }
        Tables::Nested { .. } => {
            let mmu = npt::Npt::new(0x4000_0000, HOST).ok()?;
            Some(outcome(&mmu, 5 - level, 0x1007, value))
        }
    }
}

/// Walks to an entry below `depth` entries that are `pointer`.
fn outcome<M: NestedMmu>(mmu: &M, depth: u8, pointer: u64, value: u64) -> String {
    let accesses = [
        ("read", Access::Read),
        ("write", Access::Write),
        ("execute", Access::Execute(GuestMode::Supervisor)),
    ];
    let mut allowed = Vec::new();
    let mut reason = String::new();
    for (name, access) in accesses {
        let memory = OnePath {
            pointer,
            value,
            left: Cell::new(depth),
            is_past: Cell::new(false),
        };
        let walk = mmu.walk(&memory, GuestPhysAddr::new(0), access);
        match walk.outcome {
            Ok(_) => allowed.push(name),
            Err(_) if memory.is_past.get() => return "it points to a table".into(),
            Err(fault) => reason = fault.to_string(),
        }
    }
    match allowed.is_empty() {
        true => format!("every access faults: {reason}"),
        false => format!("a leaf that allows: {}", allowed.join(", ")),
    }
}

/// Memory for one walk: pointers, then the entry, then nothing.
struct OnePath {
    pointer: u64,
    value: u64,
    /// How many pointers are still to be read.
    left: Cell<u8>,
    /// The entry was read, and something after it.
    is_past: Cell<bool>,
}

impl PhysicalMemory for OnePath {
    fn read(&self, _: HostPhysAddr) -> Option<u64> {
        match self.left.get() {
            u8::MAX => {
                self.is_past.set(true);
                None
            }
            0 => {
                self.left.set(u8::MAX);
                Some(self.value)
            }
            left => {
                self.left.set(left - 1);
                Some(self.pointer)
            }
        }
    }
}
