//! The operands of address-wise TLB invalidations.

use core::slice;

use nested_page_table::{Change, InvalidatedRange, Level};

use crate::capabilities::Capabilities;

// `TLBI IPAS2E1{IS}` and `TLBI RIPAS2E1{IS}`, Xt: Arm ARM DDI 0487, the instruction of each name.
/// `IPA[47:12]`, of both forms.
const PAGE_NUMBER: u64 = (1 << 36) - 1;
/// `TTL` of the single form; bits 47:46 of it name the granule: 01 is 4 KiB.
const TTL_SHIFT: u32 = 44;
const TTL_4K: u64 = 0b0100;
/// `TTL` of the range form: the level alone.
const RANGE_TTL_SHIFT: u32 = 37;
/// `NUM` of the range form: one less than the number of units.
const RANGE_NUM_SHIFT: u32 = 39;
/// `SCALE` of the range form: a unit is 2^(5 * SCALE + 1) pages.
const RANGE_SCALE_SHIFT: u32 = 44;
/// `TG` of the range form, bits 47:46: 01 is 4 KiB.
const RANGE_TG_4K: u64 = 0b01 << 46;
const RANGE_MAX_UNITS: u64 = 32;
const RANGE_MAX_SCALE: u32 = 3;

/// The operand register of one address-wise invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// For `IPAS2E1{IS}`.
    Single(u64),
    /// For `RIPAS2E1{IS}`.
    Range(u64),
    /// There is none that would do.
    Missing,
}

/// The operands that together cover the ranges of a request, each from its start to its end.
pub(crate) struct Operands<'r> {
    ranges: slice::Iter<'r, InvalidatedRange>,
    rest: Rest,
}

/// What is left of a range.
struct Rest {
    /// The number of the next 4 KiB page, and how many are left.
    page: u64,
    pages: u64,
    /// The pages that a single operation covers: those of one leaf.
    step: u64,
    /// The architecture's number of the only level with leaves, or 0.
    leaf_level: u64,
}

impl<'r> Operands<'r> {
    /// The operands for `ranges`.
    pub(crate) fn new(ranges: &'r [InvalidatedRange]) -> Self {
        Self {
            ranges: ranges.iter(),
            rest: Rest::NOTHING,
        }
    }
}

impl Operands<'_> {
    /// The next operand. One copy serves those who count and those who execute.
    #[inline(never)]
    pub(crate) fn next(&mut self, capabilities: Capabilities) -> Option<Operand> {
        if self.rest.pages == 0 {
            // What was absent was in no TLB.
            let range = self.ranges.find(|range| range.change != Change::Fresh)?;
            if range.tables && !capabilities.tlb_range() {
                // A removed table wants every leaf that was below it invalidated, whatever its level was,
                // which is affordable by range only.
                return Some(Operand::Missing);
            }
            self.rest = Rest::of(range, &capabilities);
        }
        let (operand, covered) = match capabilities.tlb_range() {
            true if self.rest.pages > self.rest.step => self.rest.range(),
            _ => self.rest.single(capabilities),
        };
        self.rest.page += covered;
        self.rest.pages -= covered;
        Some(operand)
    }
}

impl Rest {
    const NOTHING: Self = Self {
        page: 0,
        pages: 0,
        step: 0,
        leaf_level: 0,
    };

    /// All of `range`.
    fn of(range: &InvalidatedRange, capabilities: &Capabilities) -> Self {
        let level = range.level.filter(|_| !range.tables);
        let level = level.map_or(Level::PAGE_4K, |level| level.min(Level::BLOCK_1G));
        let step = 1_u64 << (level.shift() - 12);
        let first = (range.range.start().as_u64() >> 12) & !(step - 1);
        let last = (range.range.last().as_u64() >> 12) | (step - 1);
        Self {
            page: first,
            pages: last - first + 1,
            step,
            leaf_level: match range.level {
                Some(_) if !range.tables && capabilities.tlb_level_hint() => {
                    // Leaves stand at levels 0 to 2 from below; the architecture calls them 3 to 1.
                    u64::from(3 - level.number())
                }
                _ => 0,
            },
        }
    }

    /// One leaf, or one page where the level is not known.
    fn single(&self, capabilities: Capabilities) -> (Operand, u64) {
        // The level is 0 without the capability. Asked again, so that nothing is left of hints where the
        // format is a constant without them.
        let hint = match self.leaf_level {
            level @ 1.. if capabilities.tlb_level_hint() => (TTL_4K | level) << TTL_SHIFT,
            _ => 0,
        };
        (Operand::Single(hint | self.page & PAGE_NUMBER), self.step)
    }

    /// As many of the largest units as fit. Units that are not multiples of a leaf come last and
    /// sum up to whole leaves, so that every operation starts at a leaf, as a level hint demands.
    fn range(&self) -> (Operand, u64) {
        let scale = ((self.pages.ilog2() - 1) / 5).min(RANGE_MAX_SCALE);
        let unit_shift = 5 * scale + 1;
        let units = (self.pages >> unit_shift).min(RANGE_MAX_UNITS);
        let operand = RANGE_TG_4K
            | u64::from(scale) << RANGE_SCALE_SHIFT
            | (units - 1) << RANGE_NUM_SHIFT
            | self.leaf_level << RANGE_TTL_SHIFT
            | self.page & PAGE_NUMBER;
        (Operand::Range(operand), units << unit_shift)
    }
}
