//! The trait's own methods, beyond what the address space calls.

use axaddrspace::{AddrSpaceError, MappingFlags, NestedPageTableOps, PageSize};

use crate::arena::Arena;
use crate::machine::Machine;
use crate::{ALL, Check, READ_WRITE, gpa, on_every_machine};

struct Sizes;

impl Check for Sizes {
    fn check<F: Machine>(&self, format: F) {
        let arena = Arena::new();
        let mut table = format.table(&arena);
        for (size, address) in [
            (PageSize::Size4K, 0x1000),
            (PageSize::Size2M, 0x20_0000),
            (PageSize::Size1G, 0x4000_0000),
        ] {
            let host = (0x10_0000_0000 + address).into();
            table.map(gpa(address), host, size, ALL).unwrap();
            let inside = gpa(address + usize::from(size) - 1);
            let (found, flags, found_size) = table.query(inside).unwrap();
            assert_eq!(found.as_usize(), host.as_usize() + usize::from(size) - 1);
            assert_eq!((flags, found_size), (ALL, size));
            let again = table.map(gpa(address), host, size, ALL);
            assert_eq!(again, Err(AddrSpaceError::MappingConflict));
            assert_eq!(table.unmap(inside), Ok((host, ALL, size)));
            let gone = table.unmap(inside);
            assert_eq!(gone, Err(AddrSpaceError::Unmapped { address: inside }));
        }
        let odd = table.map(gpa(0x10_0000), 0x10_0000.into(), PageSize::Size1M, ALL);
        assert_eq!(odd, Err(AddrSpaceError::InvalidMapping));
        let misaligned = table.map(gpa(0x1000), 0.into(), PageSize::Size2M, ALL);
        let expected = AddrSpaceError::Unaligned {
            subject: "guest physical address",
            value: 0x1000,
            alignment: 0x20_0000,
        };
        assert_eq!(misaligned, Err(expected));
    }
}

#[test]
fn one_page_or_block() {
    on_every_machine(&Sizes);
}

struct Small;

impl Check for Small {
    fn check<F: Machine>(&self, format: F) {
        let arena = Arena::new();
        let mut table = format.table(&arena);
        let block = 0x20_0000;
        table
            .map_linear(gpa(0), 0.into(), block, ALL, false)
            .unwrap();
        let (_, _, size) = table.query(gpa(0x1000)).unwrap();
        assert_eq!(size, PageSize::Size4K);
        // The last page is taken: what came before it goes away again.
        table
            .map(gpa(2 * block - 0x1000), 0.into(), PageSize::Size4K, ALL)
            .unwrap();
        let conflict = table.map_linear(gpa(block), 0.into(), block, ALL, false);
        assert_eq!(conflict, Err(AddrSpaceError::MappingConflict));
        assert!(table.query(gpa(block)).is_err());
        assert!(table.query(gpa(2 * block - 0x1000)).is_ok());
        assert!(table.query(gpa(block - 0x1000)).is_ok());
    }
}

#[test]
fn small_leaves_only_where_huge_ones_are_not_allowed() {
    on_every_machine(&Small);
}

struct Replaced;

impl Check for Replaced {
    fn check<F: Machine>(&self, format: F) {
        let arena = Arena::new();
        let mut table = format.table(&arena);
        table
            .map(gpa(0), 0.into(), PageSize::Size2M, READ_WRITE)
            .unwrap();
        assert!(table.remap(gpa(0x3456), 0x7000.into(), ALL));
        let (host, flags, size) = table.query(gpa(0x3456)).unwrap();
        assert_eq!(
            (host.as_usize(), flags, size),
            (0x7456, ALL, PageSize::Size4K)
        );
        let (host, flags, _) = table.query(gpa(0x4000)).unwrap();
        assert_eq!((host.as_usize(), flags), (0x4000, READ_WRITE));
        // Flags that no table has: what was there stays.
        assert!(!table.remap(gpa(0x3000), 0x9000.into(), MappingFlags::WRITE));
        assert_eq!(table.query(gpa(0x3000)).unwrap().0.as_usize(), 0x7000);
        assert!(table.remap(gpa(0x20_0000), 0x9000.into(), ALL));
        assert_eq!(table.query(gpa(0x20_0000)).unwrap().0.as_usize(), 0x9000);
    }
}

#[test]
fn a_frame_of_the_callers_own_replaces_what_is_mapped() {
    on_every_machine(&Replaced);
}

struct Protected;

impl Check for Protected {
    fn check<F: Machine>(&self, format: F) {
        let arena = Arena::new();
        let mut table = format.table(&arena);
        table.map(gpa(0), 0.into(), PageSize::Size4K, ALL).unwrap();
        table
            .map(gpa(0x2000), 0.into(), PageSize::Size4K, ALL)
            .unwrap();
        // Over a hole.
        assert!(table.protect_region(gpa(0), 0x3000, MappingFlags::READ));
        for page in [0, 0x2000] {
            assert_eq!(table.query(gpa(page)).unwrap().1, MappingFlags::READ);
        }
        assert!(!table.protect_region(gpa(0), 0x1000, READ_WRITE | MappingFlags::DEVICE));
        assert!(!table.protect_region(gpa(0x800), 0x1000, READ_WRITE));
        assert!(!table.protect_region(gpa(0), 0, READ_WRITE));
        assert_eq!(table.query(gpa(0)).unwrap().1, MappingFlags::READ);
    }
}

#[test]
fn permissions_change_and_holes_are_skipped() {
    on_every_machine(&Protected);
}

struct Ends;

impl Check for Ends {
    fn check<F: Machine>(&self, format: F) {
        let arena = Arena::new();
        let mut table = format.table(&arena);
        let top = 1_usize << table.nested_paging_config().gpa_bits;
        let last = gpa(top - 0x1000);
        table
            .map(last, 0x5000.into(), PageSize::Size4K, ALL)
            .unwrap();
        assert_eq!(table.query(gpa(top - 1)).unwrap().0.as_usize(), 0x5fff);
        let beyond = table.map(gpa(top), 0.into(), PageSize::Size4K, ALL);
        assert_eq!(beyond, Err(AddrSpaceError::InvalidMapping));
        let overflow = table.map_linear(gpa(usize::MAX - 0xfff), 0.into(), 0x2000, ALL, true);
        assert!(matches!(
            overflow,
            Err(AddrSpaceError::AddressOverflow { .. })
        ));
        assert_eq!(table.unmap_region(gpa(0), top), Ok(()));
        assert!(table.query(last).is_err());
    }
}

#[test]
fn the_last_page_is_a_page() {
    on_every_machine(&Ends);
}
