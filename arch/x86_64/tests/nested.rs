//! `Nested` is the format that it was made from: word for word, answer for answer.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

use guest_addr::HostPhysAddr;
use mapping_flags::MappingFlags;
use nested_page_table::{AddressSpaceId, Entry, Format, Invalidation, Leaf, Level, Note, Scope};
use nested_paging_x86_64::nested::Flush;
use nested_paging_x86_64::npt::{self, TlbControl};
use nested_paging_x86_64::{Capabilities, Ept, ExecuteControl, Instruction, Mode, Nested, Npt};

/// Both modes of EPT with every combination of capabilities.
fn ept_formats() -> Vec<Ept> {
    let mut formats = Vec::new();
    for control in [
        ExecuteControl::Single,
        ExecuteControl::BothModes,
        ExecuteControl::ByUser,
    ] {
        for number in 0..64_u32 {
            let on = |bit: u32| number >> bit & 1 == 1;
            let leaf = if on(4) {
                Level::BLOCK_1G
            } else {
                Level::BLOCK_2M
            };
            let capabilities = Capabilities::common()
                .with_execute_control(control)
                .with_execute_only(on(0))
                .with_accessed_dirty_tracking(on(1))
                .with_suppress_ve(on(2))
                .with_physical_address_bits(if on(3) { 39 } else { 52 })
                .with_largest_leaf(leaf)
                .with_large_executable_leaves(on(5))
                .with_single_context_invept(on(0));
            let mode = if on(3) { Mode::Ept4 } else { Mode::Ept5 };
            formats.push(Ept::new(mode, capabilities).unwrap());
        }
    }
    formats
}

/// The same for NPT.
fn npt_formats() -> Vec<Npt> {
    let mut formats = Vec::new();
    for pat in [
        0x0007_0406_0007_0406,
        0x0000_0000_0400_0106,
        0x0007_0406_0004_0406,
    ] {
        for number in 0..32_u32 {
            let on = |bit: u32| number >> bit & 1 == 1;
            let leaf = if on(2) {
                Level::BLOCK_1G
            } else {
                Level::BLOCK_2M
            };
            let capabilities = npt::Capabilities::common()
                .with_pat(npt::Pat::new(pat))
                .with_accessed_dirty_tracking(on(0))
                .with_physical_address_bits(if on(1) { 39 } else { 52 })
                .with_largest_leaf(leaf)
                .with_flush_by_asid(on(3))
                .with_asids(16 << (number % 3));
            let mode = if on(4) {
                npt::Mode::Npt4
            } else {
                npt::Mode::Npt5
            };
            formats.push(Npt::new(mode, capabilities).unwrap());
        }
    }
    formats
}

fn check(format: &impl Format, nested: &Nested) {
    assert_eq!(nested.geometry(), format.geometry());
    assert_eq!(nested.rules(), format.rules());
    assert_eq!(nested.absent(), format.absent());
    assert_eq!(nested.leaf_policy(), format.leaf_policy());
    assert_eq!(nested.vmid_bits(), format.vmid_bits());
    let restricts = format.restricts_user_execution();
    assert_eq!(nested.restricts_user_execution(), restricts);
    let bits = format.geometry().output_bits();
    for address in [0, 0x1000, 1 << (bits - 1), (1 << bits) - 0x1000] {
        check_addresses(format, nested, HostPhysAddr::new(address));
    }
    for flags in (0..0x80).map(MappingFlags::from_bits_retain) {
        let accepted = format.check_flags(flags);
        assert_eq!(nested.check_flags(flags), accepted);
        if accepted.is_ok() {
            let levels = format.geometry().largest_leaf().up_to();
            levels.for_each(|level| check_leaf(format, nested, level, flags));
        }
    }
    for bits in [
        0,
        1,
        7,
        0x27,
        0x67,
        0xe7,
        0x1067,
        u64::MAX,
        1 << 63 | 0x80_0087,
    ] {
        for level in Level::BLOCK_512G.up_to() {
            assert_eq!(nested.decode(level, bits), format.decode(level, bits));
        }
    }
}

fn check_addresses(format: &impl Format, nested: &Nested, address: HostPhysAddr) {
    let register = format.root_register(address, 3);
    assert_eq!(nested.root_register(address, 3), register);
    let beyond = HostPhysAddr::new(u64::MAX);
    let register = format.root_register(beyond, 3);
    assert_eq!(nested.root_register(beyond, 3), register);
    assert_eq!(nested.address_bits(address), format.address_bits(address));
    let table = format.encode_table(address);
    assert_eq!(nested.encode_table(address), table);
    assert_eq!(
        nested.decode_own(Level::BLOCK_2M, table),
        Entry::Table(address)
    );
    for note in [
        Note::Table(address),
        Note::Leaf {
            address,
            accessed: true,
            dirty: false,
        },
    ] {
        let word = format.encode_note(note);
        assert_eq!(nested.encode_note(note), word);
        assert_eq!(nested.decode_note(word), Some(note));
        assert_eq!(nested.decode_own(Level::PAGE_4K, word), Entry::Absent);
        assert_eq!(nested.decode_own(Level::BLOCK_2M, word), Entry::Absent);
    }
    assert_eq!(nested.decode_note(table), None);
    assert_eq!(
        nested.decode_own(Level::BLOCK_1G, nested.absent()),
        Entry::Absent
    );
}

fn check_leaf(format: &impl Format, nested: &Nested, level: Level, flags: MappingFlags) {
    let address = HostPhysAddr::new(0x40_0000_0000);
    let leaf = Leaf {
        address: HostPhysAddr::new(address.as_u64() & !(format.geometry().entry_size(level) - 1)),
        flags,
    };
    let word = format.encode_leaf(level, leaf);
    assert_eq!(nested.encode_leaf(level, leaf), word);
    assert_eq!(nested.decode_note(word), None);
    // A and D, as the hardware may set them: bits 8 and 9, or 5 and 6, which are of the memory type in EPT.
    for bit in 0..10 {
        let touched = word ^ 1 << bit;
        assert_eq!(nested.is_accessed(touched), format.is_accessed(touched));
        assert_eq!(nested.is_dirty(touched), format.is_dirty(touched));
        let accessed = format.with_accessed(touched);
        assert_eq!(nested.with_accessed(touched), accessed);
    }
    assert_eq!(nested.decode_own(level, word), Entry::Leaf(leaf));
    assert_eq!(
        nested.split_leaf(level, word),
        format.split_leaf(level, word)
    );
    for permissions in (0..16).map(MappingFlags::from_bits_retain) {
        let changed = format.with_permissions(level, word, permissions);
        assert_eq!(nested.with_permissions(level, word, permissions), changed);
        let after = flags.difference(MappingFlags::PERMISSIONS) | permissions;
        if format.check_flags(after).is_ok() {
            assert_eq!(
                nested.decode_own(level, changed),
                format.decode_own(level, changed)
            );
        }
    }
}

#[test]
fn a_nested_ept_is_ept() {
    for format in ept_formats() {
        let nested = Nested::from(format);
        check(&format, &nested);
        assert_eq!((nested.as_ept(), nested.as_npt()), (Some(&format), None));
    }
}

#[test]
fn a_nested_npt_is_npt() {
    for format in npt_formats() {
        let nested = Nested::from(format);
        check(&format, &nested);
        assert_eq!((nested.as_ept(), nested.as_npt()), (None, Some(&format)));
    }
}

fn everything() -> Invalidation {
    let space = AddressSpaceId {
        vmid: 5,
        root_register: 0x1234_501e,
    };
    Invalidation::everything(space, Scope::AllCpus)
}

#[test]
fn an_invalidation_is_an_invept_or_a_flush_at_the_next_entry() {
    let ept = Nested::from(Ept::new(Mode::Ept4, Capabilities::common()).unwrap());
    let invept = Instruction::InveptSingle { eptp: 0x1234_501e };
    let steps: Vec<_> = ept.instructions(&everything()).collect();
    assert_eq!(steps, [Flush::Invept(invept)]);
    let npt = Npt::new(npt::Mode::Npt4, npt::Capabilities::common()).unwrap();
    let steps: Vec<_> = Nested::from(npt).instructions(&everything()).collect();
    assert_eq!(steps, [Flush::TlbControl(TlbControl::Guest)]);
}

/// NPT executes nothing, so this works on a host.
#[test]
#[expect(unsafe_code, reason = "EPT would execute INVEPT")]
fn the_flush_of_npt_is_handed_over() {
    let capabilities = npt::Capabilities::common().with_flush_by_asid(false);
    let npt = Npt::new(npt::Mode::Npt4, capabilities).unwrap();
    let mut pending = TlbControl::Guest;
    let result = {
        let at_next_entry = |control| pending = pending.and(control);
        // SAFETY: it is not EPT.
        unsafe { Nested::from(npt).invalidate(&everything(), at_next_entry) }
    };
    assert_eq!((result, pending), (Ok(()), TlbControl::All));
}

#[test]
#[should_panic = "nested-paging-x86-64 executes instructions on bare-metal x86-64 only"]
#[expect(unsafe_code, reason = "detection is unsafe")]
fn a_hosted_program_that_detects_ends_with_a_message() {
    // SAFETY: nothing is executed here.
    let _ = unsafe { Nested::detect() };
}
