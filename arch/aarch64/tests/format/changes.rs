//! Changing permissions and splitting: what stays, and what the hardware's bits become.

use mapping_flags::MappingFlags;
use nested_page_table::{Format, Leaf, Level};
use nested_paging_aarch64::Stage2;

use crate::common::{LEAF_LEVELS, accepted_flags, addresses, decode_made, formats, leaf_of};

const ACCESS_FLAG: u64 = 1 << 10;
const WRITE: u64 = 1 << 7;

/// What the walker does to a leaf that the guest stores to, from the manual's rules for hardware
/// management of the Access flag and dirty state.
fn store(format: &Stage2, bits: u64) -> u64 {
    let capabilities = format.capabilities();
    let mut after = bits;
    if capabilities.accessed_tracking() {
        after |= ACCESS_FLAG;
    }
    if capabilities.dirty_tracking() && bits >> 51 & 1 != 0 {
        after |= WRITE;
    }
    after
}

/// Every leaf as it was encoded, and as it is after the guest stored to it.
fn leaves(format: Stage2, level: Level) -> impl Iterator<Item = (Leaf, u64)> {
    accepted_flags().flat_map(move |flags| {
        addresses(level).flat_map(move |address| {
            let leaf = Leaf { address, flags };
            let bits = format.encode_leaf(level, leaf);
            [bits, store(&format, bits)].map(|bits| (leaf, bits))
        })
    })
}

#[test]
fn hardware_updates_change_neither_address_nor_flags() {
    for format in formats() {
        for level in LEAF_LEVELS {
            for (leaf, bits) in leaves(format, level) {
                assert_eq!(
                    leaf_of(decode_made(&format, level, bits)),
                    leaf,
                    "{bits:#x}"
                );
            }
        }
    }
}

#[test]
fn with_permissions_changes_permissions_and_nothing_else() {
    for format in formats() {
        let preset = !format.capabilities().dirty_tracking();
        for level in LEAF_LEVELS {
            for (leaf, bits) in leaves(format, level) {
                for new in accepted_flags() {
                    let changed = format.with_permissions(level, bits, new);
                    let flags =
                        new & MappingFlags::PERMISSIONS | leaf.flags & MappingFlags::MEMORY_TYPE;
                    let expected = Leaf { flags, ..leaf };
                    assert_eq!(leaf_of(decode_made(&format, level, changed)), expected);
                    assert_eq!(format.is_accessed(changed), format.is_accessed(bits));
                    let becomes_dirty = preset && new.contains(MappingFlags::WRITE);
                    let dirty = format.is_dirty(bits) || becomes_dirty;
                    assert_eq!(format.is_dirty(changed), dirty, "{bits:#x} to {new}");
                }
            }
        }
    }
}

#[test]
fn losing_and_regaining_write_restores_the_descriptor() {
    for format in formats() {
        for level in LEAF_LEVELS {
            for (leaf, bits) in leaves(format, level) {
                if !leaf.flags.contains(MappingFlags::READ_WRITE) {
                    continue;
                }
                let read_only = leaf.flags - MappingFlags::WRITE;
                let protected = format.with_permissions(level, bits, read_only);
                assert_eq!(protected & WRITE, 0, "the hardware refuses stores");
                assert_eq!(protected >> 51 & 1, 0, "and does not allow them itself");
                let restored = format.with_permissions(level, protected, leaf.flags);
                assert_eq!(restored, bits);
            }
        }
    }
}

#[test]
fn a_split_leaf_means_the_same() {
    for format in formats() {
        for level in [Level::BLOCK_2M, Level::BLOCK_1G] {
            let below = level.below().unwrap();
            let child_size = 1_u64 << (12 + 9 * below.number());
            for (leaf, bits) in leaves(format, level) {
                let first = format.split_leaf(level, bits);
                for index in [0, 1, 511] {
                    let offset = index * child_size;
                    let address = leaf.address.checked_add(offset).unwrap();
                    let child = first + format.address_bits(guest_addr::HostPhysAddr::new(offset));
                    let decoded = leaf_of(decode_made(&format, below, child));
                    assert_eq!(decoded, Leaf { address, ..leaf });
                    assert_eq!(format.is_accessed(child), format.is_accessed(bits));
                    assert_eq!(format.is_dirty(child), format.is_dirty(bits));
                }
            }
        }
    }
}
