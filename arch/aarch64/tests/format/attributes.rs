//! Golden descriptors, and the bugs of other implementations that they rule out.

use guest_addr::HostPhysAddr;
use mapping_flags::MappingFlags;
use nested_page_table::{Format, Leaf, Level};
use nested_paging_aarch64::{Capabilities, Mode, Stage2};

use crate::common::{LEAF_LEVELS, accepted_flags, addresses, formats, leaf_of};

const ADDRESS: HostPhysAddr = HostPhysAddr::new(0x1_4000_0000);

fn format(capabilities: Capabilities) -> Stage2 {
    Stage2::new(Mode::IPA40, capabilities).unwrap()
}

fn encode(format: &Stage2, level: Level, flags: MappingFlags) -> u64 {
    let address = ADDRESS;
    format.encode_leaf(level, Leaf { address, flags })
}

fn flags(text: &str) -> MappingFlags {
    text.chars()
        .map(|letter| match letter {
            'r' => MappingFlags::READ,
            'w' => MappingFlags::WRITE,
            'x' => MappingFlags::EXECUTE,
            'u' => MappingFlags::USER,
            'd' => MappingFlags::DEVICE,
            'n' => MappingFlags::UNCACHED,
            _ => panic!("no flag {letter}"),
        })
        .collect()
}

fn assert_pages(capabilities: Capabilities, expected: &[(&str, u64)]) {
    let format = format(capabilities);
    for &(text, bits) in expected {
        let page = encode(&format, Level::PAGE_4K, flags(text));
        assert_eq!(page, bits, "{text}: {page:#x}");
        let block = encode(&format, Level::BLOCK_1G, flags(text));
        assert_eq!(block, bits & !2, "{text}: {block:#x}");
    }
}

#[test]
fn descriptors_of_a_plain_machine() {
    assert_pages(
        Capabilities::common(),
        &[
            ("rwx", 0x0000_0001_4000_07ff),
            ("rw", 0x0040_0001_4000_07ff),
            ("rx", 0x0000_0001_4000_077f),
            ("r", 0x0040_0001_4000_077f),
            ("x", 0x0000_0001_4000_073f),
            ("rwxu", 0x0080_0001_4000_07ff),
            ("rwd", 0x0140_0001_4000_07c7),
            ("rwud", 0x01c0_0001_4000_07c7),
            ("rwn", 0x0240_0001_4000_07d7),
            ("rwxn", 0x0200_0001_4000_07d7),
        ],
    );
}

#[test]
fn descriptors_while_hcr_el2_fwb_is_set() {
    assert_pages(
        Capabilities::common().with_forced_write_back(),
        &[
            ("rwx", 0x0000_0001_4000_07db),
            ("r", 0x0040_0001_4000_075b),
            ("rwd", 0x0140_0001_4000_07c7),
            ("rwn", 0x0240_0001_4000_07d7),
        ],
    );
}

#[test]
fn descriptors_where_user_restricts_execution() {
    assert_pages(
        Capabilities::common().with_user_execute_control(),
        &[
            ("rwx", 0x0060_0001_4000_07ff),
            ("rwxu", 0x0080_0001_4000_07ff),
            ("rw", 0x0040_0001_4000_07ff),
            ("rwu", 0x00c0_0001_4000_07ff),
        ],
    );
}

#[test]
fn descriptors_with_tracking() {
    assert_pages(
        Capabilities::common().with_accessed_tracking(),
        &[
            ("rwx", 0x0000_0001_4000_03ff),
            ("rx", 0x0000_0001_4000_037f),
        ],
    );
    assert_pages(
        Capabilities::common().with_dirty_tracking(),
        &[
            ("rwx", 0x0008_0001_4000_037f),
            ("rx", 0x0000_0001_4000_037f),
        ],
    );
}

#[test]
fn m1_what_is_not_executable_executes_at_neither_exception_level() {
    for format in formats() {
        for flags in accepted_flags() {
            let xn = encode(&format, Level::PAGE_4K, flags) >> 53 & 3;
            let (el1, el0) = match xn {
                0b00 => (true, true),
                0b01 => (false, true),
                0b10 => (false, false),
                _ => (true, false),
            };
            let executable = flags.contains(MappingFlags::EXECUTE);
            let restricted =
                format.capabilities().user_execute_control() && !flags.contains(MappingFlags::USER);
            assert_eq!(
                (el1, el0),
                (executable, executable && !restricted),
                "{flags}"
            );
        }
    }
}

#[test]
fn m2_read_and_write_are_bits_6_and_7_and_decode_the_same_way() {
    let format = format(Capabilities::common());
    for flags in accepted_flags() {
        let bits = encode(&format, Level::BLOCK_2M, flags);
        assert_eq!(bits >> 6 & 1 != 0, flags.contains(MappingFlags::READ));
        assert_eq!(bits >> 7 & 1 != 0, flags.contains(MappingFlags::WRITE));
        assert_eq!(leaf_of(format.decode(Level::BLOCK_2M, bits)).flags, flags);
    }
}

#[test]
fn m3_m4_uncached_is_normal_non_cacheable_and_every_memattr_decodes() {
    for format in formats() {
        for level in LEAF_LEVELS {
            let bits = encode(&format, level, flags("rwn"));
            assert_eq!(bits >> 2 & 0xf, 0b0101);
            for memory_attributes in 0..16 {
                let bits = bits & !(0xf << 2) | memory_attributes << 2;
                let decoded = leaf_of(format.decode(level, bits)).flags;
                let device = memory_attributes & 0b1100 == 0;
                assert_eq!(decoded.contains(MappingFlags::DEVICE), device);
            }
        }
    }
}

#[test]
fn h5_host_addresses_keep_all_48_bits() {
    let format = format(Capabilities::common());
    for level in LEAF_LEVELS {
        for address in addresses(level) {
            let flags = flags("rw");
            let bits = format.encode_leaf(level, Leaf { address, flags });
            assert_eq!(bits & 0x0000_ffff_ffff_f000, address.as_u64());
            assert_eq!(leaf_of(format.decode(level, bits)).address, address);
        }
    }
}
