//! TLBI operations with their operands decoded (Arm DDI 0487, "TLB maintenance instructions").

use crate::instruction::Tlbi;
use crate::tlb::{Cache, Kept, Tag};

/// What an operation removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Stage 2 entries for a range of IPAs.
    Ipa {
        first: u64,
        last: u64,
        /// The level of the leaf entries, counted from the pages upwards, if a hint names one.
        level: Option<u8>,
        /// Whether table entries stay.
        last_level_only: bool,
    },
    /// What is cached of stage 1, alone or combined with stage 2.
    Combined,
    /// Both stages.
    Both,
    /// Both stages of every VMID.
    All,
    /// EL2's own translation, which is not modelled.
    OtherRegime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) target: Target,
    vmid: Tag,
    /// Whether it reaches the Inner Shareable domain.
    pub(super) shareable: bool,
}

impl Operation {
    /// `None` if the operand is one that removes nothing for tables of 4 KiB.
    pub(super) fn decode(operation: Tlbi, xt: u64, vmid: Tag) -> Option<Self> {
        let target = match operation {
            Tlbi::Ipas2E1 | Tlbi::Ipas2E1Is => by_ipa(xt, false)?,
            Tlbi::Ipas2Le1 | Tlbi::Ipas2Le1Is => by_ipa(xt, true)?,
            Tlbi::Ripas2E1 | Tlbi::Ripas2E1Is => by_range(xt, false)?,
            Tlbi::Ripas2Le1 | Tlbi::Ripas2Le1Is => by_range(xt, true)?,
            Tlbi::VmallE1 | Tlbi::VmallE1Is => Target::Combined,
            Tlbi::VmallS12E1 | Tlbi::VmallS12E1Is => Target::Both,
            Tlbi::AllE1 | Tlbi::AllE1Is => Target::All,
            Tlbi::ValE2Is => Target::OtherRegime,
        };
        let shareable = matches!(
            operation,
            Tlbi::Ipas2E1Is
                | Tlbi::Ipas2Le1Is
                | Tlbi::Ripas2E1Is
                | Tlbi::Ripas2Le1Is
                | Tlbi::VmallE1Is
                | Tlbi::VmallS12E1Is
                | Tlbi::AllE1Is
                | Tlbi::ValE2Is
        );
        Some(Self {
            target,
            vmid,
            shareable,
        })
    }

    pub(super) fn apply(&self, cache: &mut Cache) {
        let tag = Some(self.vmid);
        match self.target {
            Target::Ipa {
                first,
                last,
                level,
                last_level_only,
            } => cache.forget_in(tag, first, last, |walk, kept| {
                // A hint promises that only leaf entries of that level have to go, and table
                // entries above it.
                if level.is_none_or(|level| walk.level() == level) {
                    kept.result = false;
                    kept.tables &= last_level_only;
                }
            }),
            // A stage 2 translation that is still there brings the combined one back.
            Target::Combined => cache.forget(tag, |_, kept| kept.combined &= kept.result),
            Target::Both => cache.forget(tag, |_, kept| *kept = Kept::default()),
            Target::All => cache.forget(None, |_, kept| *kept = Kept::default()),
            Target::OtherRegime => {}
        }
    }
}

/// IPA>>12 in bits 39:0; TTL in bits 47:44, of which 47:46 = 01 means a granule of 4 KiB and 45:44
/// the level; 47:46 = 00 means no hint.
fn by_ipa(xt: u64, last_level_only: bool) -> Option<Target> {
    let level = match xt >> 44 & 0xf {
        0b0000..=0b0011 => None,
        ttl @ 0b0100..=0b0111 => level_of(ttl & 3),
        _ => return None,
    };
    let first = (xt & 0xff_ffff_ffff) << 12;
    Some(Target::Ipa {
        first,
        last: first | 0xfff,
        level,
        last_level_only,
    })
}

/// TG in bits 47:46 (01: 4 KiB), SCALE in 45:44, NUM in 43:39, TTL in 38:37, IPA>>12 in 36:0:
/// (NUM + 1) << (5 * SCALE + 1) pages. With a hint, the first address has to be one of that level.
fn by_range(xt: u64, last_level_only: bool) -> Option<Target> {
    if xt >> 46 & 3 != 0b01 {
        return None;
    }
    let (scale, num) = (xt >> 44 & 3, xt >> 39 & 0x1f);
    let level = level_of(xt >> 37 & 3);
    let first = (xt & 0x1f_ffff_ffff) << 12;
    let aligned = 1_u64 << (12 + 9 * u32::from(level.unwrap_or(0)));
    first.is_multiple_of(aligned).then(|| Target::Ipa {
        first,
        last: first + ((num + 1) << (5 * scale + 1 + 12)) - 1,
        level,
        last_level_only,
    })
}

/// The architecture's level, 1 to 3, counted from the pages upwards. Level 0 is no hint.
fn level_of(ttl: u64) -> Option<u8> {
    match ttl {
        1 => Some(2),
        2 => Some(1),
        3 => Some(0),
        _ => None,
    }
}
