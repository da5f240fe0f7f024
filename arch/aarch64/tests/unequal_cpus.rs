//! The laws of `Capabilities::intersect`.

use nested_paging_aarch64::{Capabilities, PhysicalAddressRange};
use proptest::prelude::*;

const RANGES: [PhysicalAddressRange; 6] = [
    PhysicalAddressRange::Bits32,
    PhysicalAddressRange::Bits36,
    PhysicalAddressRange::Bits40,
    PhysicalAddressRange::Bits42,
    PhysicalAddressRange::Bits44,
    PhysicalAddressRange::Bits48,
];

/// Capabilities from numbers: the width, and one bit for each that is on or off.
fn capabilities(range: usize, bits: u16) -> Capabilities {
    let mut capabilities = Capabilities::new().with_physical_address_range(RANGES[range % 6]);
    let additions: [fn(Capabilities) -> Capabilities; 9] = [
        Capabilities::with_16_bit_vmid,
        Capabilities::with_forced_write_back,
        Capabilities::with_user_execute_control,
        Capabilities::with_accessed_tracking,
        Capabilities::with_dirty_tracking,
        Capabilities::with_tlb_range,
        Capabilities::with_tlb_level_hint,
        Capabilities::without_4k_granule,
        Capabilities::with_repeat_tlbi,
    ];
    for (bit, addition) in additions.into_iter().enumerate() {
        if bits >> bit & 1 == 1 {
            capabilities = addition(capabilities);
        }
    }
    capabilities
}

fn any_capabilities() -> impl Strategy<Value = Capabilities> {
    (any::<usize>(), any::<u16>()).prop_map(|(range, bits)| capabilities(range, bits))
}

/// Each feature in one column, larger is more; an erratum counts the other way.
fn features(of: &Capabilities) -> [u32; 10] {
    [
        u32::from(of.physical_address_range().bits()),
        of.vmid_bits(),
        u32::from(of.forced_write_back()),
        u32::from(of.user_execute_control()),
        u32::from(of.accessed_tracking()),
        u32::from(of.dirty_tracking()),
        u32::from(of.tlb_range()),
        u32::from(of.tlb_level_hint()),
        u32::from(of.granule_4k()),
        u32::from(!of.repeat_tlbi()),
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

/// The machine is known when the program is compiled, or not: both are possible.
#[test]
fn one_affected_cpu_is_enough() {
    const BIG: Capabilities = Capabilities::common().with_tlb_range();
    const LITTLE: Capabilities = Capabilities::common().with_repeat_tlbi();
    const MACHINE: Capabilities = BIG.intersect(LITTLE);
    assert_eq!(MACHINE, LITTLE);
}
