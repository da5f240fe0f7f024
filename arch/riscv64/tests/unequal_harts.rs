//! The laws of `Capabilities::intersect`.

use nested_paging_riscv64::{Capabilities, Mode};
use proptest::prelude::*;

const MODES: [Mode; 3] = [Mode::Sv39x4, Mode::Sv48x4, Mode::Sv57x4];

fn any_capabilities() -> impl Strategy<Value = Capabilities> {
    (0..3_usize, 0..15_u32, any::<[bool; 3]>()).prop_map(|(mode, vmid_bits, on)| {
        Capabilities::new()
            .with_largest_mode(MODES[mode])
            .with_vmid_bits(vmid_bits)
            .with_svpbmt(on[0])
            .with_svvptc(on[1])
            .with_accessed_dirty_tracking(on[2])
    })
}

/// Each feature in one column, larger is more.
fn features(of: &Capabilities) -> [u32; 5] {
    [
        of.largest_mode().input_bits(),
        of.vmid_bits(),
        u32::from(of.svpbmt()),
        u32::from(of.svvptc()),
        u32::from(of.accessed_dirty_tracking()),
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
fn harts_that_differ_have_a_machine_in_common() {
    const BIG: Capabilities = Capabilities::common().with_svpbmt(true);
    const LITTLE: Capabilities = Capabilities::new().with_vmid_bits(7).with_svvptc(true);
    const MACHINE: Capabilities = BIG.intersect(LITTLE);
    assert_eq!(MACHINE, Capabilities::new().with_vmid_bits(7));
}
