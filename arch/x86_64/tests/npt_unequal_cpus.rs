//! The laws of `npt::Capabilities::intersect`.

use nested_page_table::Level;
use nested_paging_x86_64::npt::{Capabilities, Mode, ModeError, Npt, Pat};
use proptest::prelude::*;

const LEAVES: [Level; 3] = [Level::PAGE_4K, Level::BLOCK_2M, Level::BLOCK_1G];
const PATS: [Pat; 2] = [Pat::RESET, Pat::new(0x0407_0506_0007_0106)];

fn any_capabilities() -> impl Strategy<Value = Capabilities> {
    let choices = (0..2_usize, 32..53_u32, 0..3_usize, 1..0x1_0000_u32);
    (choices, any::<[bool; 4]>()).prop_map(|((pat, bits, leaf, asids), on)| {
        Capabilities::new()
            .with_pat(PATS[pat])
            .with_physical_address_bits(bits)
            .with_largest_leaf(LEAVES[leaf])
            .with_asids(asids)
            .with_npt4(on[0])
            .with_npt5(on[1])
            .with_accessed_dirty_tracking(on[2])
            .with_flush_by_asid(on[3])
    })
}

/// Each feature in one column, larger is more.
fn features(of: &Capabilities) -> [u32; 7] {
    [
        of.physical_address_bits(),
        of.largest_leaf().shift(),
        of.asids(),
        u32::from(of.has_mode(Mode::Npt4)),
        u32::from(of.has_mode(Mode::Npt5)),
        u32::from(of.accessed_dirty_tracking()),
        u32::from(of.flush_by_asid()),
    ]
}

proptest! {
    #[test]
    fn an_intersection_is_the_most_that_both_have(a in any_capabilities(), b in any_capabilities()) {
        let both = features(&a.intersect(b));
        let least: Vec<_> = features(&a).into_iter().zip(features(&b)).map(|(a, b)| a.min(b)).collect();
        prop_assert_eq!(&both[..], &least[..]);
    }

    #[test]
    fn neither_order_nor_repetition_matters(
        a in any_capabilities(),
        b in any_capabilities(),
        c in any_capabilities(),
    ) {
        prop_assert_eq!(a.intersect(a), a);
        prop_assert_eq!(a.intersect(b), b.intersect(a));
        prop_assert_eq!(a.intersect(b).intersect(c), a.intersect(b.intersect(c)));
    }
}

/// An index into the PAT would mean one thing here and another there.
#[test]
fn hosts_with_different_pats_have_no_format() {
    let [one, other] = PATS.map(|pat| Capabilities::common().with_pat(pat));
    let made = Npt::new(Mode::Npt4, one.intersect(other));
    assert!(matches!(made, Err(ModeError::Pat { .. })), "{made:?}");
    assert!(Npt::new(Mode::Npt4, one.intersect(one)).is_ok());
}
