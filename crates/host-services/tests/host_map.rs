//! The map of host memory against a list of bytes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use guest_addr::{HostPhysAddr, HostPhysRange};
use host_services::{HostMap, HostUse};
use proptest::prelude::*;

const USES: [HostUse; 4] = [
    HostUse::Ram,
    HostUse::Reserved,
    HostUse::Hypervisor,
    HostUse::Device,
];

fn range() -> impl Strategy<Value = HostPhysRange> {
    let base = prop_oneof![Just(0), Just(u64::MAX - 31)];
    (base, 0..32_u64, 0..32_u64).prop_map(|(base, one, other)| {
        let (start, last) = (base + one.min(other), base + one.max(other));
        HostPhysRange::from_start_last(HostPhysAddr::new(start), HostPhysAddr::new(last)).unwrap()
    })
}

fn bytes(range: HostPhysRange) -> impl Iterator<Item = u64> {
    range.start().as_u64()..=range.last().as_u64()
}

/// The first run of the bytes of `wanted` that are, or are not, in `known`.
fn first_run(wanted: HostPhysRange, known: &BTreeSet<u64>, inside: bool) -> Vec<u64> {
    let run = bytes(wanted).skip_while(|byte| known.contains(byte) != inside);
    run.take_while(|byte| known.contains(byte) == inside)
        .collect()
}

proptest! {
    #[test]
    fn lookups_agree_with_the_bytes(
        added in prop::collection::vec((range(), prop::sample::select(&USES[..])), 0..8),
        wanted in range(),
        asked in prop::sample::subsequence(&USES[..], 0..4),
    ) {
        let map: HostMap = added.iter().copied().collect();
        let known = |uses: &[HostUse]| -> BTreeSet<u64> {
            let having = added.iter().filter(|(_, host_use)| uses.contains(host_use));
            having.flat_map(|(range, _)| bytes(*range)).collect()
        };
        let list = |range: Option<HostPhysRange>| -> Vec<u64> {
            range.into_iter().flat_map(bytes).collect()
        };
        for host_use in USES {
            let expected = first_run(wanted, &known(&[host_use]), true);
            prop_assert_eq!(list(map.first_common(host_use, wanted)), expected);
        }
        let expected = first_run(wanted, &known(&asked), false);
        prop_assert_eq!(list(map.first_outside(&asked, wanted)), expected);

        let hypervisor = known(&[HostUse::Hypervisor]);
        let permits = |uses| {
            let known = known(uses);
            bytes(wanted).all(|byte| known.contains(&byte) && !hypervisor.contains(&byte))
        };
        let ram = permits(&[HostUse::Ram, HostUse::Reserved]);
        let device = permits(&[HostUse::Device, HostUse::Reserved]);
        prop_assert_eq!(map.permits_ram(wanted), ram);
        prop_assert_eq!(map.permits_device(wanted), device);
    }
}
