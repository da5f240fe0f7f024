//! Which instructions a request becomes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use guest_addr::{GuestPhysAddr, GuestPhysRange};
use nested_page_table::{AddressSpaceId, Change, InvalidatedRange, Invalidation, Level, Scope};
use nested_paging_aarch64::Instruction::{
    DsbIsh, DsbIshst, DsbNsh, DsbNshst, Isb, TlbiIpas2e1, TlbiIpas2e1is, TlbiRipas2e1,
    TlbiRipas2e1is, TlbiVale2is, TlbiVmalle1, TlbiVmalle1is, TlbiVmalls12e1, TlbiVmalls12e1is,
    WriteVtcr, WriteVttbr,
};
use nested_paging_aarch64::{Capabilities, Instruction, Mode, Stage2, Stage2Registers};
use proptest::prelude::*;

const VTTBR: u64 = 0x0007_0000_4020_2000;
const SPACE: AddressSpaceId = AddressSpaceId {
    vmid: 7,
    root_register: VTTBR,
};

fn plain() -> Stage2 {
    Stage2::new(Mode::IPA48, Capabilities::common()).unwrap()
}

/// A processor that completes accesses too late.
fn repeating() -> Stage2 {
    let capabilities = Capabilities::common().with_repeat_tlbi();
    Stage2::new(Mode::IPA48, capabilities).unwrap()
}

/// `VTCR_EL2` of the formats here: `ipa48` with 48 bits of physical address.
const VTCR: u64 = 0x8005_3590;

/// Another machine: another shape of table, another root, another VMID.
const OTHER: Stage2Registers = Stage2Registers {
    vtcr: 0x8002_3558,
    vttbr: 0x0001_0000_5000_0000,
};

fn hinting() -> Stage2 {
    let capabilities = Capabilities::common().with_tlb_level_hint();
    Stage2::new(Mode::IPA48, capabilities).unwrap()
}

fn ranging() -> Stage2 {
    let capabilities = Capabilities::common().with_tlb_level_hint();
    Stage2::new(Mode::IPA48, capabilities.with_tlb_range()).unwrap()
}

fn range(start: u64, size: u64) -> GuestPhysRange {
    GuestPhysRange::from_start_size(GuestPhysAddr::new(start), size).unwrap()
}

fn leaves(start: u64, size: u64, level: Option<Level>) -> InvalidatedRange {
    InvalidatedRange {
        range: range(start, size),
        level,
        tables: false,
        change: Change::Removed,
    }
}

fn tables(start: u64, size: u64) -> InvalidatedRange {
    InvalidatedRange {
        tables: true,
        ..leaves(start, size, None)
    }
}

fn request(scope: Scope, range: InvalidatedRange) -> Invalidation {
    Invalidation::range(SPACE, scope, range)
}

fn sequence(format: &Stage2, scope: Scope, range: InvalidatedRange) -> Vec<Instruction> {
    format.instructions(&request(scope, range)).collect()
}

const WHOLE_VMID: [Instruction; 4] = [DsbIshst, TlbiVmalls12e1is, DsbIsh, Isb];

/// `middle` between the barriers and the stage-1 invalidation that address-wise operations need.
fn address_wise(middle: &[Instruction]) -> Vec<Instruction> {
    let mut all = vec![DsbIshst];
    all.extend_from_slice(middle);
    all.extend([DsbIsh, TlbiVmalle1is, DsbIsh, Isb]);
    all
}

#[test]
fn m5_one_page_is_a_stage_2_invalidation_of_its_page_number_between_barriers() {
    let page = leaves(0xabcd_ef12_3000, 0x1000, Some(Level::PAGE_4K));
    assert_eq!(
        sequence(&plain(), Scope::AllCpus, page),
        [
            DsbIshst,
            TlbiIpas2e1is(0xa_bcde_f123),
            DsbIsh,
            TlbiVmalle1is,
            DsbIsh,
            Isb
        ]
    );
    assert_eq!(
        sequence(&plain(), Scope::Local, page),
        [
            DsbNshst,
            TlbiIpas2e1(0xa_bcde_f123),
            DsbNsh,
            TlbiVmalle1,
            DsbNsh,
            Isb
        ]
    );
}

#[test]
fn another_address_space_is_switched_to_and_back() {
    let page = leaves(0x1000, 0x1000, Some(Level::PAGE_4K));
    let one = request(Scope::AllCpus, page);
    let switched: Vec<_> = plain().instructions_from(&one, OTHER).collect();
    assert_eq!(
        switched,
        [
            DsbIshst,
            DsbNsh,
            WriteVtcr(VTCR),
            WriteVttbr(VTTBR),
            Isb,
            TlbiIpas2e1is(1),
            DsbIsh,
            TlbiVmalle1is,
            DsbIsh,
            Isb,
            WriteVtcr(OTHER.vtcr),
            WriteVttbr(OTHER.vttbr),
            Isb
        ]
    );
    let current = Stage2Registers {
        vtcr: VTCR,
        vttbr: VTTBR,
    };
    let same: Vec<_> = plain().instructions_from(&one, current).collect();
    assert_eq!(same, plain().instructions(&one).collect::<Vec<_>>());
    let everything = Invalidation::everything(SPACE, Scope::Local);
    let switched: Vec<_> = plain().instructions_from(&everything, OTHER).collect();
    assert_eq!(
        switched,
        [
            DsbNshst,
            DsbNsh,
            WriteVtcr(VTCR),
            WriteVttbr(VTTBR),
            Isb,
            TlbiVmalls12e1,
            DsbNsh,
            Isb,
            WriteVtcr(OTHER.vtcr),
            WriteVttbr(OTHER.vttbr),
            Isb
        ]
    );
}

/// Until a guest runs, `VTTBR_EL2` may hold the right value next to a `VTCR_EL2` that was never
/// written, which decides how wide VMIDs are.
#[test]
fn the_shape_alone_is_switched_too() {
    let everything = Invalidation::everything(SPACE, Scope::AllCpus);
    let current = Stage2Registers {
        vtcr: 0,
        vttbr: VTTBR,
    };
    let switched: Vec<_> = plain().instructions_from(&everything, current).collect();
    assert!(switched.contains(&WriteVtcr(VTCR)));
    assert_eq!(
        switched[switched.len() - 3..],
        [WriteVtcr(0), WriteVttbr(VTTBR), Isb]
    );
}

/// One more broadcast and the `DSB` that completes it, after all others and before the `ISB`.
#[test]
fn errata_take_one_more_broadcast_and_its_barrier() {
    let page = leaves(0x1000, 0x1000, Some(Level::PAGE_4K));
    assert_eq!(
        sequence(&repeating(), Scope::AllCpus, page),
        [
            DsbIshst,
            TlbiIpas2e1is(1),
            DsbIsh,
            TlbiVmalle1is,
            DsbIsh,
            TlbiVale2is(0),
            DsbIsh,
            Isb
        ]
    );
    let everything = Invalidation::everything(SPACE, Scope::AllCpus);
    let all: Vec<_> = repeating().instructions(&everything).collect();
    assert_eq!(
        all,
        [
            DsbIshst,
            TlbiVmalls12e1is,
            DsbIsh,
            TlbiVale2is(0),
            DsbIsh,
            Isb
        ]
    );
    // What reaches the calling CPU only is complete without.
    let local = sequence(&repeating(), Scope::Local, page);
    assert_eq!(local, sequence(&plain(), Scope::Local, page));
    // A barrier is no invalidation.
    let fresh = InvalidatedRange {
        change: Change::Fresh,
        ..page
    };
    assert_eq!(sequence(&repeating(), Scope::AllCpus, fresh), [DsbIshst]);
}

#[test]
fn blocks_take_one_operation_each() {
    let blocks = leaves(0x4000_0000, 0x40_0000, Some(Level::BLOCK_2M));
    assert_eq!(
        sequence(&plain(), Scope::AllCpus, blocks),
        address_wise(&[TlbiIpas2e1is(0x4_0000), TlbiIpas2e1is(0x4_0200)])
    );
    // Part of a block names the block.
    let part = leaves(0x4000_5000, 0x1000, Some(Level::BLOCK_1G));
    assert_eq!(
        sequence(&plain(), Scope::AllCpus, part),
        address_wise(&[TlbiIpas2e1is(0x4_0000)])
    );
}

#[test]
fn a_level_hint_needs_the_feature_and_one_level() {
    for (level, ttl) in [
        (Level::PAGE_4K, 0b0111),
        (Level::BLOCK_2M, 0b0110),
        (Level::BLOCK_1G, 0b0101),
    ] {
        let one = leaves(0x4000_0000, 0x1000, Some(level));
        assert_eq!(
            sequence(&hinting(), Scope::AllCpus, one),
            address_wise(&[TlbiIpas2e1is(ttl << 44 | 0x4_0000)])
        );
    }
    let unknown = leaves(0x4000_0000, 0x1000, None);
    assert_eq!(
        sequence(&hinting(), Scope::AllCpus, unknown),
        address_wise(&[TlbiIpas2e1is(0x4_0000)])
    );
}

#[test]
fn removed_tables_take_the_whole_vmid_or_one_range() {
    let gone = tables(0x4000_0000, 0x20_0000);
    assert_eq!(sequence(&hinting(), Scope::AllCpus, gone), WHOLE_VMID);
    // 512 pages: SCALE 1 (64 pages), NUM 7, TG 01, no TTL.
    let xt = 0b01 << 46 | 1 << 44 | 7 << 39 | 0x4_0000;
    assert_eq!(
        sequence(&ranging(), Scope::AllCpus, gone),
        address_wise(&[TlbiRipas2e1is(xt)])
    );
    assert_eq!(
        sequence(&ranging(), Scope::Local, gone),
        [DsbNshst, TlbiRipas2e1(xt), DsbNsh, TlbiVmalle1, DsbNsh, Isb]
    );
    // A level next to `tables` is not believed.
    let contradiction = InvalidatedRange {
        level: Some(Level::PAGE_4K),
        ..gone
    };
    assert_eq!(
        sequence(&ranging(), Scope::AllCpus, contradiction),
        address_wise(&[TlbiRipas2e1is(xt)])
    );
}

#[test]
fn eight_gib_are_one_range_operation() {
    // The largest NUM and SCALE: 32 << 16 pages.
    let large = leaves(0x2_0000_0000, 8 << 30, Some(Level::BLOCK_1G));
    let xt = 0b01 << 46 | 3 << 44 | 31 << 39 | 1 << 37 | 0x20_0000;
    assert_eq!(
        sequence(&ranging(), Scope::AllCpus, large),
        address_wise(&[TlbiRipas2e1is(xt)])
    );
}

#[test]
fn past_64_operations_the_whole_vmid_goes() {
    for level in [Some(Level::PAGE_4K), None] {
        let most = sequence(&plain(), Scope::AllCpus, leaves(0, 64 << 12, level));
        assert_eq!(most.len(), 64 + 5);
        let more = sequence(&plain(), Scope::AllCpus, leaves(0, 65 << 12, level));
        assert_eq!(more, WHOLE_VMID);
    }
    let everything = Invalidation::everything(SPACE, Scope::AllCpus);
    let all: Vec<_> = plain().instructions(&everything).collect();
    assert_eq!(all, WHOLE_VMID);
    let local = Invalidation::everything(SPACE, Scope::Local);
    let all: Vec<_> = plain().instructions(&local).collect();
    assert_eq!(all, [DsbNshst, TlbiVmalls12e1, DsbNsh, Isb]);
}

#[test]
fn the_longest_sequence_is_listed_to_its_end() {
    let pages = request(Scope::AllCpus, leaves(0, 64 << 12, Some(Level::PAGE_4K)));
    let all: Vec<_> = repeating().instructions_from(&pages, OTHER).collect();
    let (begin, rest) = all.split_at(5);
    let (middle, end) = rest.split_at(64);
    assert_eq!(
        begin,
        [DsbIshst, DsbNsh, WriteVtcr(VTCR), WriteVttbr(VTTBR), Isb]
    );
    assert!((0..64).map(TlbiIpas2e1is).eq(middle.iter().copied()));
    let stage_1 = [DsbIsh, TlbiVmalle1is, DsbIsh, TlbiVale2is(0), DsbIsh, Isb];
    let back = [WriteVtcr(OTHER.vtcr), WriteVttbr(OTHER.vttbr), Isb];
    assert_eq!(end, [&stage_1[..], &back].concat());
}

#[test]
fn fresh_mappings_are_published_and_raised_ones_invalidated() {
    let page = leaves(0x1000, 0x1000, Some(Level::PAGE_4K));
    let fresh = InvalidatedRange {
        change: Change::Fresh,
        ..page
    };
    let one = request(Scope::AllCpus, fresh);
    let sequence_elsewhere: Vec<_> = plain().instructions_from(&one, OTHER).collect();
    assert_eq!(sequence_elsewhere, [DsbIshst]);
    let raised = InvalidatedRange {
        change: Change::Raised,
        ..page
    };
    assert_eq!(
        sequence(&plain(), Scope::AllCpus, raised),
        address_wise(&[TlbiIpas2e1is(1)])
    );
}

/// An instruction that silently did nothing would leave translations that its caller believes to be
/// gone.
#[test]
#[should_panic = "nested-paging-aarch64 executes instructions on bare-metal AArch64 only"]
#[expect(unsafe_code, reason = "the instructions are unsafe to execute")]
fn a_hosted_program_that_invalidates_ends_with_a_message() {
    let everything = Invalidation::everything(SPACE, Scope::Local);
    // SAFETY: nothing is executed here.
    unsafe { plain().invalidate(&everything) };
}

#[test]
#[should_panic = "nested-paging-aarch64 executes instructions on bare-metal AArch64 only"]
#[expect(unsafe_code, reason = "the instructions are unsafe to execute")]
fn a_hosted_program_that_executes_an_instruction_ends_with_a_message() {
    // SAFETY: nothing is executed here.
    unsafe { Isb.execute() };
}

#[test]
#[should_panic = "nested-paging-aarch64 executes instructions on bare-metal AArch64 only"]
#[expect(unsafe_code, reason = "detection is unsafe")]
fn a_hosted_program_that_detects_ends_with_a_message() {
    // SAFETY: nothing is executed here.
    let _ = unsafe { Capabilities::detect() };
}

/// The pages that an operation invalidates, and the level it is limited to, from the description of
/// its operand in the manual.
fn pages_of(instruction: Instruction) -> Option<(u64, u64, Option<u64>)> {
    match instruction {
        TlbiIpas2e1is(xt) => {
            let (ttl, page) = (xt >> 44 & 0xf, xt & 0xf_ffff_ffff);
            assert_eq!(xt >> 48, 0, "RES0 and NS");
            assert!(ttl == 0 || ttl >> 2 == 0b01, "4 KiB granule");
            let level = (ttl != 0).then_some(ttl & 3);
            let pages = level.map_or(1, |level| 1 << (9 * (3 - level)));
            Some((page, pages, level))
        }
        TlbiRipas2e1is(xt) => {
            assert_eq!(xt >> 46, 0b01, "4 KiB granule, no NS");
            let (scale, num, ttl) = (xt >> 44 & 3, xt >> 39 & 0x1f, xt >> 37 & 3);
            let page = xt & 0x1f_ffff_ffff;
            Some((
                page,
                (num + 1) << (5 * scale + 1),
                (ttl != 0).then_some(ttl),
            ))
        }
        _ => None,
    }
}

proptest! {
    /// Address-wise operations cover the range once, from start to end, and start where a level
    /// hint lets them: at a leaf.
    #[test]
    fn operations_cover_exactly_the_range(
        start in 0_u64..1 << 36,
        length in 1_u64..1 << 24,
        kind in 0_u8..5,
        by_range: bool,
    ) {
        let format = if by_range { ranging() } else { hinting() };
        let level = Level::new(kind.min(2)).filter(|_| kind < 3);
        let unit = level.map_or(1, |level| 1_u64 << (9 * level.number()));
        let length = if by_range { length } else { 1 + length % 80 * unit };
        let (first, last) = (start & !(unit - 1), (start + length - 1) | (unit - 1));
        prop_assume!(last < 1 << 36);
        let range = InvalidatedRange {
            tables: kind == 4,
            ..leaves(first << 12, (last - first + 1) << 12, level)
        };
        let sequence = sequence(&format, Scope::AllCpus, range);
        let operations: Vec<_> = sequence.iter().filter_map(|&one| pages_of(one)).collect();
        if operations.is_empty() {
            prop_assert_eq!(sequence, WHOLE_VMID);
            let too_many = (last - first + 1) / unit > 64;
            prop_assert!(!by_range && (too_many || kind == 4));
            return Ok(());
        }
        let mut next = first;
        for &(page, pages, hint) in &operations {
            prop_assert_eq!(page, next);
            let architecture_level = level.map(|level| 3 - u64::from(level.number()));
            prop_assert_eq!(hint, architecture_level);
            prop_assert_eq!(page % unit, 0);
            next += pages;
        }
        prop_assert_eq!(next, last + 1);
        prop_assert!(operations.len() <= Stage2::MAX_ADDRESS_OPERATIONS);
    }

    /// Ranges that no table has still give a sequence, without a panic.
    #[test]
    fn any_range_gives_a_sequence(start: u64, last: u64, kind in 0_u8..7, by_range: bool) {
        let (start, last) = (start.min(last), start.max(last));
        let Ok(range) = GuestPhysRange::from_start_last(GuestPhysAddr::new(start), GuestPhysAddr::new(last))
        else {
            return Ok(());
        };
        let range = InvalidatedRange {
            range,
            level: Level::new(kind),
            tables: kind == 6,
            change: Change::Removed,
        };
        let format = if by_range { ranging() } else { plain() };
        prop_assert!(sequence(&format, Scope::AllCpus, range).len() >= 4);
    }
}
