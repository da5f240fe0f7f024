//! Linear mappings.

use axaddrspace::{AddrSpaceError, NestedPageTableOps, PageSize};

use crate::machine::{EXECUTE, Machine, READ, WRITE};
use crate::{ALL, Check, READ_WRITE, Rig, gpa, on_every_machine};

struct Linear;

impl Check for Linear {
    fn check<F: Machine>(&self, format: F) {
        let mut rig = Rig::new(format);
        let space = &mut rig.space;
        space
            .map_linear(gpa(0x4000_0000), 0x1_4000_0000.into(), 0x4000_0000, ALL)
            .unwrap();
        space
            .map_linear(gpa(0x1000), 0x3000.into(), 0x2000, READ_WRITE)
            .unwrap();
        let table = space.page_table();
        let (host, flags, size) = table.query(gpa(0x4123_4567)).unwrap();
        assert_eq!(host.as_usize(), 0x1_4123_4567);
        assert_eq!((flags, size), (ALL, PageSize::Size1G));
        assert_eq!(rig.translate(0x7fff_ffff), Some(0x1_7fff_ffff));
        assert_eq!(rig.translate(0x2fff), Some(0x4fff));
        assert_eq!(rig.translate(0x3000), None);
        assert_eq!(rig.reach(0x1000, WRITE), Some(0x3000));
        assert_eq!(rig.reach(0x1000, EXECUTE), None);
    }
}

#[test]
fn a_linear_mapping_takes_the_largest_leaves() {
    on_every_machine(&Linear);
}

struct Part;

impl Check for Part {
    fn check<F: Machine>(&self, format: F) {
        let mut rig = Rig::new(format);
        rig.space
            .map_linear(gpa(0), 0x4000_0000.into(), 0x20_0000, ALL)
            .unwrap();
        rig.space.unmap(gpa(0x5000), 0x1000).unwrap();
        assert_eq!(rig.translate(0x4fff), Some(0x4000_4fff));
        assert_eq!(rig.translate(0x5000), None);
        assert_eq!(rig.translate(0x6000), Some(0x4000_6000));
        assert_eq!(rig.translate(0x1f_ffff), Some(0x401f_ffff));
    }
}

/// page_table_multiarch 0.6 cleared the whole block.
#[test]
fn a_page_of_a_block_is_unmapped_alone() {
    on_every_machine(&Part);
}

struct Exhausted;

impl Check for Exhausted {
    fn check<F: Machine>(&self, format: F) {
        let mut rig = Rig::new(format);
        rig.space
            .map_linear(gpa(0), 0x4000_0000.into(), 0x1000, ALL)
            .unwrap();
        let before = rig.arena.out();
        for left in 0.. {
            rig.arena.fail_after(Some(left));
            // Needs tables on both sides of a boundary of 512 GiB, or of 1 GiB.
            let outcome =
                rig.space
                    .map_linear(gpa(0x3fff_f000), 0x7000_1000.into(), 0x2000, READ_WRITE);
            rig.arena.fail_after(None);
            if outcome.is_ok() {
                assert!(left > 0);
                break;
            }
            assert_eq!(rig.arena.out(), before);
            assert_eq!(rig.reach(0x3fff_f000, READ), None);
            assert_eq!(rig.reach(0x4000_0000, READ), None);
        }
        assert_eq!(rig.translate(0x4000_0000), Some(0x7000_2000));
    }
}

#[test]
fn without_frames_for_tables_nothing_is_mapped() {
    on_every_machine(&Exhausted);
}

struct Refused;

impl Check for Refused {
    fn check<F: Machine>(&self, format: F) {
        let mut rig = Rig::new(format);
        let space = &mut rig.space;
        space
            .map_linear(gpa(0x1000), 0x1000.into(), 0x1000, ALL)
            .unwrap();
        let conflict = space.map_linear(gpa(0), 0.into(), 0x2000, ALL);
        assert_eq!(conflict, Err(AddrSpaceError::MappingConflict));
        let unaligned = space.map_linear(gpa(0x2800), 0.into(), 0x1000, ALL);
        assert!(matches!(unaligned, Err(AddrSpaceError::Unaligned { .. })));
        let outside = space.map_linear(gpa(64 << 30), 0.into(), 0x1000, ALL);
        assert!(matches!(outside, Err(AddrSpaceError::OutOfRange { .. })));
        assert_eq!(rig.translate(0), None);
        assert_eq!(rig.translate(0x2000), None);
    }
}

#[test]
fn what_cannot_be_mapped_is_refused() {
    on_every_machine(&Refused);
}
