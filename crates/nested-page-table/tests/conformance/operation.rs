//! Random operations: pieces of 4 KiB to 512 GiB around hostile edges.

use mapping_flags::MappingFlags;
use nested_page_table::{LeafPolicy, Level};
use proptest::prelude::*;

use crate::variant::Variant;

/// One operation, as numbers that may be nonsense.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Map {
        guest: u64,
        size: u64,
        host: u64,
        flags: MappingFlags,
    },
    Unmap {
        guest: u64,
        size: u64,
    },
    UnmapReporting {
        guest: u64,
        size: u64,
    },
    Protect {
        guest: u64,
        size: u64,
        flags: MappingFlags,
    },
    ReclaimEmpty,
}

/// What happens between two judgements.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// One operation, with every allocation failing once before it may succeed.
    Single(Operation),
    /// An edit of several operations.
    Batch(Vec<Operation>),
    /// Several operations by the table's own methods, each invalidated when it returns.
    Direct(Vec<Operation>),
    /// The guest reads or writes some mapped page.
    Touch { pick: usize, write: bool },
}

/// A machine and what happens on it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) variant: u8,
    pub(crate) steps: Vec<Step>,
}

/// What keeps a case affordable: pages that it may take to map one piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) input_bits: u32,
    pub(crate) output_bits: u32,
    pub(crate) largest: Level,
    pub(crate) largest_executable: Level,
}

impl Limits {
    pub(crate) fn of(variant: &Variant) -> Self {
        let LeafPolicy {
            largest,
            largest_executable,
            ..
        } = variant.policy;
        let largest = largest.min(variant.geometry.largest_leaf());
        Self {
            input_bits: variant.geometry.input_bits(),
            output_bits: variant.geometry.output_bits(),
            largest,
            largest_executable: largest.min(largest_executable),
        }
    }

    /// The highest level for a leaf where guest and host differ by `delta`.
    fn alignment(delta: u64) -> Level {
        let number = delta.trailing_zeros().saturating_sub(12) / 9;
        Level::new(number.min(4) as u8).unwrap()
    }

    /// The largest piece that takes some thousand leaves when its leaves are of `level`.
    fn affordable(level: Level) -> u64 {
        (4 << 12) << (9 * u32::from(level.number()) + 9)
    }
}

/// A case on one of eight variants of a mode, whose limits are given.
pub(crate) fn case(all: Vec<Limits>) -> impl Strategy<Value = Case> {
    (0..8_u8).prop_flat_map(move |variant| {
        let steps = prop::collection::vec(step(all[usize::from(variant)]), 1..14);
        steps.prop_map(move |steps| Case { variant, steps })
    })
}

fn step(limits: Limits) -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => operation(limits).prop_map(Step::Single),
        2 => prop::collection::vec(operation(limits), 2..5).prop_map(Step::Batch),
        1 => prop::collection::vec(operation(limits), 1..4).prop_map(Step::Direct),
        1 => pages().prop_map(Step::Batch),
        2 => pages().prop_map(Step::Direct),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(pick, write)| Step::Touch { pick, write }),
    ]
}

fn operation(limits: Limits) -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => map(limits),
        2 => piece(limits).prop_map(|(guest, size)| Operation::Unmap { guest, size }),
        1 => piece(limits).prop_map(|(guest, size)| Operation::UnmapReporting { guest, size }),
        2 => (piece(limits), flags()).prop_map(|((guest, size), flags)| {
            let kept = if size % 3 == 0 { MappingFlags::all() } else { MappingFlags::PERMISSIONS };
            Operation::Protect { guest, size, flags: flags & kept }
        }),
        1 => Just(Operation::ReclaimEmpty),
    ]
}

/// Single pages of three leaf tables in two GiB, in quick succession, mostly with the same flags, and now
/// and then something that takes the tables away, or those above them.
fn pages() -> impl Strategy<Value = Vec<Operation>> {
    const BLOCK: u64 = 0x20_0000;
    const GIB: u64 = 0x4000_0000;
    let page = prop::sample::select(vec![0_u64, 1, 511, 512, 513, 0x4_0000, 0x4_0001]);
    let page = page.prop_map(|number| number * 0x1000);
    let gib = (0..2_u64).prop_map(|number| number * GIB);
    let block = (0..2_u64).prop_map(|number| number * BLOCK);
    let flags = prop_oneof![
        4 => Just(MappingFlags::READ_WRITE),
        1 => Just(MappingFlags::READ),
        1 => Just(MappingFlags::WRITE),
    ];
    let delta = prop_oneof![
        8 => Just(0x8000_0000_u64),
        1 => Just(0),
        1 => Just(1 << 60),
        1 => Just(0x800),
    ];
    let operation = prop_oneof![
        8 => (page.clone(), delta, flags).prop_map(|(guest, delta, flags)| Operation::Map {
            guest,
            size: 0x1000,
            host: guest + delta,
            flags,
        }),
        6 => page.prop_map(|guest| Operation::Unmap { guest, size: 0x1000 }),
        1 => block.clone().prop_map(|guest| Operation::Unmap { guest, size: BLOCK }),
        1 => gib.prop_map(|guest| Operation::Unmap { guest, size: GIB }),
        1 => block.prop_map(|guest| Operation::Map {
            guest,
            size: BLOCK,
            host: guest,
            flags: MappingFlags::READ_WRITE,
        }),
        1 => Just(Operation::ReclaimEmpty),
    ];
    prop::collection::vec(operation, 2..14)
}

fn map(limits: Limits) -> impl Strategy<Value = Operation> {
    let halved = prop_oneof![5 => Just(0_u32), 1 => 1..=9_u32];
    let delta = (0..5_u32, 0..4_u64, halved, any::<bool>());
    (piece(limits), delta, flags()).prop_map(
        move |((guest, size), (level, times, halved, down), flags)| {
            let mut delta = times << (12 + 9 * level) >> halved & !0xfff;
            let largest = match flags.contains(MappingFlags::EXECUTE) {
                true => limits.largest_executable,
                false => limits.largest,
            };
            if size > Limits::affordable(Limits::alignment(delta)) && halved == 0 {
                delta = 0;
            }
            // A piece that would take too many leaves is cut to what the largest ones can do.
            let affordable = Limits::affordable(largest.min(Limits::alignment(delta)));
            let size = if size > affordable {
                size % affordable
            } else {
                size
            };
            let host = match down {
                true => guest.wrapping_sub(delta),
                false => guest.wrapping_add(delta),
            };
            let host = host & (((1 << limits.output_bits) - 1) | ((times & 1) << 60));
            Operation::Map {
                guest,
                size,
                host,
                flags,
            }
        },
    )
}

/// A guest range as start and size: near an edge of some level, a few entries of some level long,
/// give or take a page, and sometimes nonsense.
fn piece(limits: Limits) -> impl Strategy<Value = (u64, u64)> {
    let top = 1_u64 << limits.input_bits;
    let levels = u32::from(limits.largest.number());
    let anchor = prop_oneof![
        4 => Just(0),
        2 => Just(top / 2),
        1 => Just(1 << 39),
        2 => Just(top),
        1 => Just(1 << 30),
    ];
    let slack = prop_oneof![6 => Just(0_i64), 2 => -2..=2_i64, 1 => 509..=514_i64];
    let size = (0..=levels, 1..=3_u64, slack.clone());
    let start = (0..=levels, 0..=2_u64, slack);
    let nonsense = prop_oneof![
        60 => Just(None),
        1 => Just(Some((0_u64, 0_u64))),
        1 => Just(Some((1, 0x1000))),
        1 => Just(Some((0x1000, 0x800))),
        1 => Just(Some((u64::MAX - 0xfff, 0x1000))),
        1 => Just(Some((u64::MAX - 0xfff, 0x2000))),
        1 => Just(Some((0, u64::MAX))),
    ];
    (anchor, start, size, nonsense).prop_map(move |(anchor, start, size, nonsense)| {
        if let Some(piece) = nonsense {
            return piece;
        }
        let bytes = |(level, count, pages): (u32, u64, i64)| {
            (count << (12 + 9 * level)).wrapping_add_signed(pages * 0x1000)
        };
        let size = bytes(size).min(Limits::affordable(limits.largest));
        let offset = bytes(start);
        // At the top of the space pieces hang down from the edge.
        let guest = match anchor == top {
            true => top.wrapping_sub(size).wrapping_sub(offset),
            false => anchor.wrapping_add(offset),
        };
        (guest, size)
    })
}

fn flags() -> impl Strategy<Value = MappingFlags> {
    use MappingFlags as F;
    let sensible = prop::sample::select(vec![
        F::READ_WRITE,
        F::READ,
        F::ACCESS,
        F::ACCESS.union(F::USER),
        F::READ.union(F::EXECUTE),
        F::EXECUTE,
        F::PASSTHROUGH,
        F::READ.union(F::DEVICE),
        F::READ_WRITE.union(F::UNCACHED),
        F::ACCESS.union(F::UNCACHED).union(F::USER),
    ]);
    prop_oneof![20 => sensible, 1 => (0..0x80_u32).prop_map(F::from_bits_retain)]
}
