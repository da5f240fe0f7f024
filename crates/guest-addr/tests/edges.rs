//! Range and alignment arithmetic at the ends of the space, against 128-bit arithmetic.

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr, RangeError, align_up_4k};
use proptest::prelude::*;

fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0..=0x3000_u64),
        (0..=0x3000_u64).prop_map(|below| u64::MAX - below),
        (0..64_u32, 0..=2_u64).prop_map(|(bit, delta)| (1_u64 << bit).wrapping_add(delta) - 1),
    ]
}

/// The bytes from the lesser to the greater, if that is not all.
fn between(a: u64, b: u64) -> Option<GuestPhysRange> {
    let (start, last) = (GuestPhysAddr::new(a.min(b)), GuestPhysAddr::new(a.max(b)));
    GuestPhysRange::from_start_last(start, last).ok()
}

const SPACE: u128 = 1 << 64;

proptest! {
    #[test]
    fn from_start_size_agrees_with_wide_arithmetic(start in edge(), size in edge()) {
        let end = u128::from(start) + u128::from(size);
        let range = GuestPhysRange::from_start_size(GuestPhysAddr::new(start), size);
        match range {
            Ok(range) => {
                prop_assert!(size > 0 && end <= SPACE);
                prop_assert_eq!(u128::from(range.last().as_u64()), end - 1);
                prop_assert_eq!(range.size(), size);
                prop_assert_eq!(range.end().map(GuestPhysAddr::as_u64), u64::try_from(end).ok());
            }
            Err(RangeError::Empty { start: named }) => prop_assert!(size == 0 && named == start),
            Err(RangeError::PastEnd { .. }) => prop_assert!(end > SPACE),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn aligning_agrees_with_wide_arithmetic(value in edge()) {
        let up = u128::from(value).div_ceil(4096) * 4096;
        prop_assert_eq!(align_up_4k(value), u64::try_from(up).ok());
        prop_assert_eq!(GuestPhysAddr::new(value).align_up_4k().map(GuestPhysAddr::as_u64), u64::try_from(up).ok());
        prop_assert_eq!(GuestPhysAddr::new(value).align_down_4k().as_u64(), value / 4096 * 4096);
    }

    #[test]
    fn overlap_and_intersection_agree(a in edge(), b in edge(), c in edge(), d in edge()) {
        if let (Some(first), Some(second)) = (between(a, b), between(c, d)) {
            let start = first.start().max(second.start());
            let last = first.last().min(second.last());
            prop_assert_eq!(first.overlaps(&second), start <= last);
            prop_assert_eq!(first.intersection(&second).is_some(), start <= last);
            prop_assert_eq!(
                first.is_followed_by(&second),
                u128::from(first.last().as_u64()) + 1 == u128::from(second.start().as_u64())
            );
        }
    }

    #[test]
    fn the_hull_is_the_smallest_range_over_both(a in edge(), b in edge(), c in edge(), d in edge()) {
        if let (Some(first), Some(second)) = (between(a, b), between(c, d)) {
            let (least, greatest) = (a.min(b).min(c).min(d), a.max(b).max(c).max(d));
            prop_assert_eq!(first.hull(&second), between(least, greatest));
        }
    }

    #[test]
    fn a_block_is_aligned_to_its_size(address in edge(), order in 0..64_u32) {
        let size = 1_u128 << order;
        let block = GuestPhysRange::block_at(GuestPhysAddr::new(address), order);
        prop_assert_eq!(u128::from(block.start().as_u64()), u128::from(address) / size * size);
        prop_assert_eq!(u128::from(block.size()), size);
    }

    #[test]
    fn the_first_block_and_the_rest_make_up_the_range(a in edge(), b in edge(), order in 0..64_u32) {
        if let Some(range) = between(a, b) {
            let (first, rest) = range.split_first_block(order);
            let size = 1_u128 << order;
            let block_end = (u128::from(range.start().as_u64()) / size + 1) * size;
            let end = (u128::from(range.last().as_u64()) + 1).min(block_end);
            prop_assert_eq!(first.start(), range.start());
            prop_assert_eq!(u128::from(first.last().as_u64()) + 1, end);
            match rest {
                Some(rest) => {
                    prop_assert!(first.is_followed_by(&rest));
                    prop_assert_eq!(rest.last(), range.last());
                }
                None => prop_assert_eq!(first.last(), range.last()),
            }
        }
    }

    #[test]
    fn outward_alignment_covers_the_range_and_no_page_more(start in edge(), size in edge()) {
        if let Ok(range) = GuestPhysRange::from_start_size(GuestPhysAddr::new(start), size) {
            match range.align_outward_4k() {
                Ok(pages) => {
                    prop_assert!(pages.is_aligned_4k() && pages.contains_range(&range));
                    prop_assert!(pages.start().as_u64().abs_diff(start) < 4096);
                    prop_assert!(pages.last().as_u64().abs_diff(range.last().as_u64()) < 4096);
                }
                Err(error) => {
                    prop_assert_eq!(error, RangeError::WholeSpace);
                    prop_assert!(start < 4096 && range.last().as_u64() >= u64::MAX - 4095);
                }
            }
        }
    }

    #[test]
    fn width_agrees_with_shifting(value in any::<u64>(), bits in 0..80_u32) {
        prop_assert_eq!(HostPhysAddr::new(value).fits_in(bits), u128::from(value) < (1_u128 << bits));
        prop_assert_eq!(
            HostPhysAddr::new(value).has_zero_low_bits(bits),
            if bits >= 64 { value == 0 } else { value % (1 << bits) == 0 }
        );
    }
}

#[cfg(feature = "arceos")]
#[test]
fn memory_addr_types_convert_without_loss() {
    let address = HostPhysAddr::new(u64::MAX - 1);
    let theirs: memory_addr::PhysAddr = address.into();
    assert_eq!(HostPhysAddr::from(theirs), address);
}
