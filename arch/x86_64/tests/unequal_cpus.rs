//! The laws of `Capabilities::intersect`.

use nested_page_table::Level;
use nested_paging_x86_64::{Capabilities, ExecuteControl, Mode};
use proptest::prelude::*;

const MODES: [Mode; 2] = [Mode::Ept4, Mode::Ept5];
const LEAVES: [Level; 3] = [Level::PAGE_4K, Level::BLOCK_2M, Level::BLOCK_1G];
const CONTROLS: [ExecuteControl; 3] = [
    ExecuteControl::Single,
    ExecuteControl::BothModes,
    ExecuteControl::ByUser,
];

fn any_capabilities() -> impl Strategy<Value = Capabilities> {
    let choices = (0..2_usize, 32..53_u32, 0..3_usize, 0..3_usize);
    (choices, any::<[bool; 5]>()).prop_map(|((mode, bits, leaf, control), on)| {
        Capabilities::new()
            .with_largest_mode(MODES[mode])
            .with_physical_address_bits(bits)
            .with_largest_leaf(LEAVES[leaf])
            .with_execute_control(CONTROLS[control])
            .with_execute_only(on[0])
            .with_accessed_dirty_tracking(on[1])
            .with_single_context_invept(on[2])
            .with_suppress_ve(on[3])
            .with_large_executable_leaves(on[4])
    })
}

/// Each feature in one column, larger is more.
fn features(of: &Capabilities) -> [u32; 9] {
    let control = CONTROLS.iter().position(|&it| it == of.execute_control());
    [
        of.largest_mode().input_bits(),
        of.physical_address_bits(),
        of.largest_leaf().shift(),
        control.map_or(0, |control| control as u32),
        u32::from(of.execute_only()),
        u32::from(of.accessed_dirty_tracking()),
        u32::from(of.single_context_invept()),
        u32::from(of.suppress_ve()),
        u32::from(of.large_executable_leaves()),
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

#[test]
fn one_cpu_that_takes_machine_checks_is_enough() {
    const SAFE: Capabilities = Capabilities::common();
    const UNSAFE: Capabilities = Capabilities::common().with_large_executable_leaves(false);
    const MACHINE: Capabilities = SAFE.intersect(UNSAFE);
    assert_eq!(MACHINE, UNSAFE);
}
