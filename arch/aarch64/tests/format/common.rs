//! What the tests of the format share.

use guest_addr::HostPhysAddr;
use mapping_flags::MappingFlags;
use nested_page_table::{Entry, Format, Leaf, Level};
use nested_paging_aarch64::{Capabilities, Mode, Stage2};

pub(crate) const LEAF_LEVELS: [Level; 3] = [Level::PAGE_4K, Level::BLOCK_2M, Level::BLOCK_1G];

/// One format for each combination of the capabilities that change descriptors.
pub(crate) fn formats() -> Vec<Stage2> {
    let mut formats = Vec::new();
    for choice in 0..16 {
        let mut capabilities = Capabilities::common();
        if choice & 1 != 0 {
            capabilities = capabilities.with_forced_write_back();
        }
        if choice & 2 != 0 {
            capabilities = capabilities.with_user_execute_control();
        }
        if choice & 4 != 0 {
            capabilities = capabilities.with_accessed_tracking();
        }
        if choice & 8 != 0 {
            capabilities = capabilities.with_dirty_tracking();
        }
        formats.push(Stage2::new(Mode::IPA48, capabilities).unwrap());
    }
    formats
}

/// All flags that mean anything, found without the format's help.
pub(crate) fn accepted_flags() -> impl Iterator<Item = MappingFlags> {
    (0..64)
        .map(MappingFlags::from_bits_retain)
        .filter(|flags| flags.validate().is_ok())
}

/// The lowest and the highest address of a leaf, and some between.
pub(crate) fn addresses(level: Level) -> impl Iterator<Item = HostPhysAddr> {
    let size = 1_u64 << (12 + 9 * level.number());
    [0, 1, 2, 3, 0x155, (1 << 48) / size - 1]
        .into_iter()
        .map(move |number| HostPhysAddr::new(number * size))
}

/// What `bits`, which the format made, decode to, by all ways. (Law 6.)
pub(crate) fn decode_made(format: &Stage2, level: Level, bits: u64) -> Entry {
    let entry = format.decode(level, bits);
    assert_eq!(format.decode_own(level, bits), entry, "{bits:#x}");
    let leaf = match entry {
        Entry::Leaf(leaf) => Some(leaf),
        Entry::Absent => None,
        Entry::Table(_) => return entry,
    };
    assert_eq!(format.decode_own_leaf(level, bits), leaf, "{bits:#x}");
    entry
}

pub(crate) fn leaf_of(entry: Entry) -> Leaf {
    match entry {
        Entry::Leaf(leaf) => leaf,
        other => panic!("expected a leaf: {other:?}"),
    }
}
