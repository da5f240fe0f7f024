//! Random tables: the enumeration and the walk are two ways to say the same thing.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

mod common;

use std::ops::ControlFlow;

use common::{ACCESSES, Sparse, WRITE, gpa};
use guest_addr::HostPhysAddr;
use proptest::prelude::*;
use reference_mmu::{
    Access, MAX_STEPS, MemoryKind, NestedMmu, PhysicalMemory, Region, Translation, aarch64, ept,
    npt, riscv,
};

/// The tables of a random memory lie here, the root first.
const POOL: u64 = 0x100_0000;
const POOL_PAGES: u64 = 32;
const TOO_MANY: usize = 4000;

type RegionOf<T> = Region<<T as NestedMmu>::Attributes, <T as NestedMmu>::Why>;

/// What the properties need to know of an architecture besides the walker.
trait Subject: NestedMmu {
    fn pointer(table: u64) -> u64;
    fn leaf(address: u64, noise: u64) -> u64;
    fn why(fault: &Self::Fault) -> Self::Why;
    fn is_absent(why: Self::Why) -> bool;
    /// Whether a walk may say `why` for `access` to a page that the enumeration lists as `listed`.
    fn agree(
        listed: Result<Translation<Self::Attributes>, Self::Why>,
        access: Access,
        why: Option<Self::Why>,
    ) -> bool;
}

impl Subject for riscv::GStage {
    fn pointer(table: u64) -> u64 {
        table >> 2 | 1
    }

    fn leaf(address: u64, noise: u64) -> u64 {
        address >> 2 | 0x13 | noise & 0xee
    }

    fn why(fault: &riscv::Fault) -> riscv::Why {
        fault.why
    }

    fn is_absent(why: riscv::Why) -> bool {
        why == riscv::Why::NotValid
    }

    fn agree(
        listed: Result<Translation<riscv::Attributes>, riscv::Why>,
        access: Access,
        why: Option<riscv::Why>,
    ) -> bool {
        use riscv::Why::{AccessedClear, DirtyClear, Permission};
        match (listed, why) {
            (Ok(leaf), Some(Permission)) => !leaf.permissions.allow(access),
            (Ok(leaf), Some(DirtyClear)) => access == WRITE && leaf.dirty == Some(false),
            (Ok(leaf), None) => leaf.permissions.allow(access),
            // The process checks permissions before A.
            (Err(AccessedClear), Some(Permission)) => true,
            (Err(listed), Some(why)) => listed == why,
            _ => false,
        }
    }
}

impl Subject for aarch64::Stage2 {
    fn pointer(table: u64) -> u64 {
        table | 3
    }

    fn leaf(address: u64, noise: u64) -> u64 {
        // Blocks and pages, four write-back or device types, all permissions.
        address | 0x301 | noise & (0x6000_0000_0000_04c2 | 0x38)
    }

    fn why(fault: &aarch64::Fault) -> aarch64::Why {
        fault.why
    }

    fn is_absent(why: aarch64::Why) -> bool {
        why == aarch64::Why::Invalid
    }

    fn agree(
        listed: Result<Translation<aarch64::Attributes>, aarch64::Why>,
        access: Access,
        why: Option<aarch64::Why>,
    ) -> bool {
        use aarch64::{Strict::DeviceExecute, Why};
        match (listed, why) {
            (Ok(leaf), Some(Why::Permission)) => !leaf.permissions.allow(access),
            (Ok(leaf), Some(Why::Strict(DeviceExecute))) => {
                leaf.kind == MemoryKind::Device && matches!(access, Access::Execute(_))
            }
            (Ok(leaf), None) => leaf.permissions.allow(access),
            (Err(listed), Some(why)) => listed == why,
            _ => false,
        }
    }
}

impl Subject for ept::Ept {
    fn pointer(table: u64) -> u64 {
        table | 0x407
    }

    fn leaf(address: u64, noise: u64) -> u64 {
        address | 1 | noise & 0x4f6
    }

    fn why(fault: &ept::Fault) -> ept::Why {
        fault.why
    }

    fn is_absent(why: ept::Why) -> bool {
        why == ept::Why::NotPresent
    }

    fn agree(
        listed: Result<Translation<ept::Attributes>, ept::Why>,
        access: Access,
        why: Option<ept::Why>,
    ) -> bool {
        match (listed, why) {
            (Ok(leaf), Some(ept::Why::Permission)) => !leaf.permissions.allow(access),
            (Ok(leaf), None) => leaf.permissions.allow(access),
            (Err(listed), Some(why)) => listed == why,
            _ => false,
        }
    }
}

impl Subject for npt::Npt {
    fn pointer(table: u64) -> u64 {
        table | 7
    }

    fn leaf(address: u64, noise: u64) -> u64 {
        address | 5 | noise & (1 << 63 | 0x16fa)
    }

    fn why(fault: &npt::Fault) -> npt::Why {
        fault.why
    }

    fn is_absent(why: npt::Why) -> bool {
        why == npt::Why::NotPresent
    }

    fn agree(
        listed: Result<Translation<npt::Attributes>, npt::Why>,
        access: Access,
        why: Option<npt::Why>,
    ) -> bool {
        match (listed, why) {
            (Ok(leaf), Some(npt::Why::Permission)) => !leaf.permissions.allow(access),
            (Ok(leaf), None) => leaf.permissions.allow(access),
            (Err(listed), Some(why)) => listed == why,
            _ => false,
        }
    }
}

/// One entry of a random memory.
#[derive(Clone, Debug)]
enum Value {
    Pointer(u64),
    Leaf { frame: u64, shift: u32, noise: u64 },
    Flipped(Box<Value>, u32),
    Noise(u64),
}

impl Value {
    fn encode<T: Subject>(&self) -> u64 {
        match self {
            Self::Pointer(page) => T::pointer(POOL + page * 0x1000),
            Self::Leaf {
                frame,
                shift,
                noise,
            } => T::leaf(frame << shift, *noise),
            Self::Flipped(value, bit) => value.encode::<T>() ^ 1 << bit,
            Self::Noise(bits) => *bits,
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let pointer = || (0..POOL_PAGES).prop_map(Value::Pointer);
    let leaf = || {
        let shift = prop_oneof![Just(12_u32), Just(21), Just(30), Just(39)];
        (0..0x10_u64, shift, any::<u64>()).prop_map(|(frame, shift, noise)| Value::Leaf {
            frame,
            shift,
            noise,
        })
    };
    let flipped = (prop_oneof![pointer(), leaf()], 0..64_u32)
        .prop_map(|(value, bit)| Value::Flipped(Box::new(value), bit));
    prop_oneof![
        6 => pointer(),
        6 => leaf(),
        2 => flipped,
        1 => any::<u64>().prop_map(Value::Noise),
    ]
}

/// Entries as page, index and value; low pages, which hold the root, are likelier.
fn entries() -> impl Strategy<Value = Vec<(u64, u64, Value)>> {
    let page = prop_oneof![0..4_u64, 0..POOL_PAGES];
    let index = prop_oneof![0..4_u64, 508..512_u64, 0..512_u64];
    prop::collection::vec((page, index, value()), 1..40)
}

fn memory<T: Subject>(entries: &[(u64, u64, Value)]) -> Sparse {
    // Two pages stay away, so that some pointers lead nowhere.
    let mut memory = Sparse::default().with_zeros(POOL, (POOL_PAGES - 2) * 0x1000);
    for (page, index, value) in entries {
        memory.put(POOL + page * 0x1000 + index * 8, value.encode::<T>());
    }
    memory
}

/// The first regions, which must ascend without overlap.
fn list<T: Subject, M: PhysicalMemory>(mmu: &T, memory: &M) -> Vec<RegionOf<T>> {
    let mut regions: Vec<RegionOf<T>> = Vec::new();
    let _ = mmu.try_for_each_region(memory, |region| {
        let end = regions
            .last()
            .map_or(0, |last| last.start.as_u64() + last.size);
        assert!(end <= region.start.as_u64());
        assert!(region.start.has_zero_low_bits(region.size.trailing_zeros()));
        regions.push(region);
        if regions.len() < TOO_MANY {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    regions
}

fn check_address<T: Subject>(mmu: &T, memory: &Sparse, regions: &[RegionOf<T>], address: u64) {
    let after = regions.partition_point(|region| region.start.as_u64() <= address);
    let region = after.checked_sub(1).map(|index| &regions[index]);
    let region = region.filter(|region| address - region.start.as_u64() < region.size);
    for access in ACCESSES {
        let walk = mmu.walk(memory, gpa(address), access);
        let why = walk.outcome.as_ref().err().map(T::why);
        let Some(region) = region else {
            assert!(why.is_some_and(T::is_absent), "{address:#x}: {why:?}");
            continue;
        };
        assert!(
            T::agree(region.outcome, access, why),
            "{address:#x} {access:?}: {why:?}, listed {region:?}"
        );
        if let (Ok(walked), Ok(mut listed)) = (walk.outcome, region.outcome) {
            let offset = address - region.start.as_u64();
            listed.address = listed.address.checked_add(offset).unwrap();
            assert_eq!(walked, listed, "{address:#x}");
        }
        if region.value.is_some() {
            let last = walk.steps.last().unwrap();
            assert_eq!((last.entry, Some(last.value)), (region.entry, region.value));
        }
    }
}

/// Walks both ends of every region, the bytes around it, and `addresses`.
fn enumeration_agrees<T: Subject>(mmu: &T, memory: &Sparse, addresses: &[u64]) {
    let regions = list(mmu, memory);
    if regions.len() == TOO_MANY {
        return;
    }
    let width = (1 << mmu.input_bits()) - 1;
    let edges = regions
        .iter()
        .step_by(1 + regions.len() / 100)
        .flat_map(|region| {
            let (start, end) = (region.start.as_u64(), region.start.as_u64() + region.size);
            [
                start.wrapping_sub(1),
                start,
                start + region.size / 3,
                end - 1,
                end,
            ]
        });
    for address in edges.chain(addresses.iter().copied()) {
        check_address(mmu, memory, &regions, address & width);
    }
}

/// Memory where every number is noise, but for the bits that make it a likely pointer.
struct Noise {
    seed: u64,
    set: u64,
    clear: u64,
}

impl PhysicalMemory for Noise {
    fn read(&self, address: HostPhysAddr) -> Option<u64> {
        let mut bits = (address.as_u64() ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits ^= bits >> 29;
        bits = bits.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits ^= bits >> 32;
        match bits % 16 {
            0 => None,
            1..12 => Some((bits.rotate_left(17) | self.set) & !self.clear),
            _ => Some(bits.rotate_left(17)),
        }
    }
}

fn noise_never_panics<T: Subject>(mmu: &T, seed: u64, address: u64) {
    let masks = [
        (T::pointer(0), 0xffff_0000_0000_00f8),
        (T::leaf(0, 0), 0xffff_0000_3fff_f000),
        (0, 0),
    ];
    for (set, clear) in masks {
        let clear = clear & !set;
        let memory = Noise { seed, set, clear };
        for address in [address, address & ((1 << mmu.input_bits()) - 1)] {
            for access in ACCESSES {
                let walk = mmu.walk(&memory, gpa(address), access);
                assert!(walk.steps.len() <= MAX_STEPS);
                if let Ok(found) = walk.outcome {
                    assert!(found.page_size.is_power_of_two());
                    let offset = (found.address.as_u64() ^ address) % found.page_size;
                    assert_eq!(offset, 0);
                }
            }
        }
        list(mmu, &memory);
    }
}

fn riscv_features() -> impl Strategy<Value = riscv::Features> {
    any::<[bool; 4]>().prop_map(|[pbmte, adue, svnapot, svrsw60t59b]| riscv::Features {
        pbmte,
        adue,
        svnapot,
        svrsw60t59b,
    })
}

fn g_stage() -> impl Strategy<Value = riscv::GStage> {
    (8..11_u64, riscv_features())
        .prop_map(|(mode, features)| riscv::GStage::new(mode << 60 | POOL >> 12, features).unwrap())
}

fn aarch64_features() -> impl Strategy<Value = aarch64::Features> {
    (any::<[bool; 5]>(), 0..8_u8).prop_map(|(flags, pa_range)| aarch64::Features {
        pa_range,
        force_write_back: flags[0],
        execute_never_extended: flags[1],
        vmid16: flags[2],
        hardware_access_flag: flags[3],
        hardware_dirty_state: flags[4],
    })
}

fn stage2() -> impl Strategy<Value = aarch64::Stage2> {
    let vtcr = prop::sample::select(vec![
        0x8002_3559_u64,
        0x8002_3558,
        0x8004_3555,
        0x8002_351e,
        0x8004_3594,
        0x8005_3590,
        0x8005_35d9 & !0xc0,
    ]);
    (vtcr, aarch64_features(), 0..4_u64).prop_filter_map("refused", |(vtcr, features, hardware)| {
        aarch64::Stage2::new(POOL, vtcr | hardware << 21, features).ok()
    })
}

fn ept_features() -> impl Strategy<Value = ept::Features> {
    (any::<[bool; 7]>(), 30..54_u8).prop_map(|(flags, max_phys_addr)| ept::Features {
        max_phys_addr,
        execute_only: flags[0],
        walk_length_5: flags[1],
        page_2m: flags[2],
        page_1g: flags[3],
        accessed_dirty: flags[4],
        mode_based_execute: flags[5],
        violation_exceptions: flags[6],
    })
}

fn any_ept() -> impl Strategy<Value = ept::Ept> {
    let eptp = prop::sample::select(vec![0x1e_u64, 0x5e, 0x18, 0x26, 0x66]);
    (eptp, ept_features()).prop_filter_map("refused", |(eptp, features)| {
        ept::Ept::new(POOL | eptp, features).ok()
    })
}

fn npt_features() -> impl Strategy<Value = npt::Features> {
    let pats = [npt::Features::RESET_PAT, 0x0106_0504_0007_0106, 0x0002];
    let pat = prop::sample::select(pats.to_vec());
    let flags = any::<[bool; 3]>();
    (flags, 30..54_u8, pat).prop_map(|(flags, max_phys_addr, pat)| npt::Features {
        max_phys_addr,
        five_levels: flags[0],
        no_execute: flags[1],
        page_1g: flags[2],
        pat,
    })
}

fn any_npt() -> impl Strategy<Value = npt::Npt> {
    let low = prop::sample::select(vec![0_u64, 0x18]);
    (low, npt_features()).prop_filter_map("refused", |(low, features)| {
        npt::Npt::new(POOL | low, features).ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn riscv_enumeration_agrees_with_walks(
        mmu in g_stage(), entries in entries(), addresses in any::<[u64; 8]>(),
    ) {
        enumeration_agrees(&mmu, &memory::<riscv::GStage>(&entries), &addresses);
    }

    #[test]
    fn aarch64_enumeration_agrees_with_walks(
        mmu in stage2(), entries in entries(), addresses in any::<[u64; 8]>(),
    ) {
        enumeration_agrees(&mmu, &memory::<aarch64::Stage2>(&entries), &addresses);
    }

    #[test]
    fn ept_enumeration_agrees_with_walks(
        mmu in any_ept(), entries in entries(), addresses in any::<[u64; 8]>(),
    ) {
        enumeration_agrees(&mmu, &memory::<ept::Ept>(&entries), &addresses);
    }

    #[test]
    fn npt_enumeration_agrees_with_walks(
        mmu in any_npt(), entries in entries(), addresses in any::<[u64; 8]>(),
    ) {
        enumeration_agrees(&mmu, &memory::<npt::Npt>(&entries), &addresses);
    }

    #[test]
    fn arbitrary_memory_never_panics(
        g_stage in g_stage(), stage2 in stage2(), ept in any_ept(), npt in any_npt(),
        seed in any::<u64>(), address in any::<u64>(),
    ) {
        noise_never_panics(&g_stage, seed, address);
        noise_never_panics(&stage2, seed, address);
        noise_never_panics(&ept, seed, address);
        noise_never_panics(&npt, seed, address);
    }

    #[test]
    fn arbitrary_registers_never_panic(
        registers in any::<[u64; 2]>(), shift in 0..64_u32, address in any::<u64>(),
        riscv in riscv_features(), aarch64 in aarch64_features(), ept in ept_features(),
        npt in npt_features(),
    ) {
        let low = registers[1] >> shift;
        for register in [low, low | 1 << 31, low | 8 << 60, (low & !0xffff) | 0x1e] {
            if let Ok(mmu) = riscv::GStage::new(register, riscv) {
                noise_never_panics(&mmu, 1, address);
            }
            for root in [registers[0], POOL] {
                if let Ok(mmu) = aarch64::Stage2::new(root, register & 0x8fff_ffff, aarch64) {
                    noise_never_panics(&mmu, 1, address);
                }
            }
            if let Ok(mmu) = ept::Ept::new(register, ept) {
                noise_never_panics(&mmu, 1, address);
            }
            if let Ok(mmu) = npt::Npt::new(register & !0xfff, npt) {
                noise_never_panics(&mmu, 1, address);
            }
        }
    }
}
