//! What no TLB model sees: when stores are published, and what the hardware writes meanwhile.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags;
use nested_page_table::{
    Format, Geometry, Invalidation, InvalidationFailed, LeafPolicy, Level, MapError,
    NestedPageTable, TableHost, UnmapError,
};
use nested_paging_aarch64::{Capabilities, Mode, Stage2};
use nested_paging_x86_64::{Capabilities as EptCapabilities, Ept, Mode as EptMode};
use simulated_host::{Placement, SimulatedFrames, SparseMemory, Violations};
use std::sync::Arc;

use crate::strict::{BEFORE_SPLIT, FRESH_NEEDS_INVALIDATION, PUBLISHED, Strict};

type Watched = Strict<Stage2>;

struct Host {
    frames: SimulatedFrames,
    /// How often stores had been published at each invalidation.
    published: RefCell<Vec<u32>>,
    /// The next invalidation panics.
    panics: Cell<bool>,
}

// SAFETY: the allocator is a field, and no CPU walks these tables.
unsafe impl TableHost for Host {
    type Frames = SimulatedFrames;

    fn frames(&self) -> &SimulatedFrames {
        &self.frames
    }

    fn invalidate(&self, _: &Invalidation) -> Result<(), InvalidationFailed> {
        assert!(!self.panics.replace(false), "as the test wants it");
        self.published.borrow_mut().push(PUBLISHED.get());
        Ok(())
    }
}

fn table(memory: &Arc<SparseMemory>) -> NestedPageTable<Watched, Host> {
    let capabilities = Capabilities::common()
        .with_accessed_tracking()
        .with_dirty_tracking();
    table_in(
        Strict::new(Stage2::new(Mode::IPA40, capabilities).unwrap()),
        memory,
    )
}

fn table_in<F: Format>(format: F, memory: &Arc<SparseMemory>) -> NestedPageTable<F, Host> {
    let violations = Arc::new(Violations::default());
    let frames = SimulatedFrames::new(Arc::clone(memory), violations, Placement::FromZero);
    let host = Host {
        frames,
        published: RefCell::default(),
        panics: Cell::default(),
    };
    NestedPageTable::new(format, 1, host).unwrap()
}

fn range(start: u64, size: u64) -> GuestPhysRange {
    GuestPhysRange::from_start_size(GuestPhysAddr::new(start), size).unwrap()
}

/// CVE-2018-12207: a table that is told nothing makes what the machine can be trusted with, and one that is
/// told otherwise makes no more.
#[test]
fn a_machine_with_itlb_multihit_executes_from_4_kib_by_default() {
    let memory = Arc::new(SparseMemory::new());
    let capabilities = EptCapabilities::common().with_large_executable_leaves(false);
    let format = Ept::new(EptMode::Ept4, capabilities).unwrap();
    let flags = [MappingFlags::READ_WRITE, MappingFlags::ACCESS];
    let leaves = |mut table: NestedPageTable<Ept, Host>| {
        flags.map(|flags| {
            let block = range(0x4000_0000, 0x20_0000);
            table
                .map(block, HostPhysAddr::new(0x20_0000), flags)
                .unwrap();
            let found = table.translate(block.start()).unwrap().guest.size();
            table.unmap(block).unwrap();
            found
        })
    };
    let by_default = table_in(format, &memory);
    assert_eq!(leaves(by_default), [0x20_0000, 0x1000]);
    let told = table_in(format, &memory).with_leaf_policy(LeafPolicy::HARDWARE);
    assert_eq!(leaves(told), [0x20_0000, 0x1000]);
    let trusted = capabilities.with_large_executable_leaves(true);
    let trusted = Ept::new(EptMode::Ept4, trusted).unwrap();
    assert_eq!(leaves(table_in(trusted, &memory)), [0x20_0000, 0x20_0000]);
}

/// In a root of fewer entries than a frame has, pages beyond the input width share the GiB of pages within, of
/// which the directory is remembered.
#[test]
fn a_root_smaller_than_a_frame_has_nothing_behind_its_entries() {
    let memory = Arc::new(SparseMemory::new());
    let wide = *table(&memory).format();
    // Eight entries of 2 MiB.
    let geometry = Geometry::new(&[9, 3], Level::BLOCK_2M, 40).unwrap();
    let mut table = table_in(wide.with_geometry(geometry), &memory);
    let (host, flags) = (HostPhysAddr::new(0x4000_0000), MappingFlags::READ_WRITE);
    for page in [0xff_f000, 0xff_e000] {
        table.map(range(page, 0x1000), host, flags).unwrap();
        table.unmap(range(page, 0x1000)).unwrap();
        table.map(range(page, 0x1000), host, flags).unwrap();
    }
    for beyond in [0x100_0000, 0x3fff_f000] {
        let page = range(beyond, 0x1000);
        let (guest, bits) = (page, 24);
        let mapped = table.map(page, host, flags);
        assert_eq!(mapped, Err(MapError::GuestTooWide { guest, bits }));
        let unmapped = table.unmap(page);
        assert_eq!(unmapped, Err(UnmapError::GuestTooWide { guest, bits }));
        assert_eq!(led_to(&table, beyond), None);
    }
    assert_eq!(led_to(&table, 0xff_f000), Some(host));
}

/// A frame beyond the output width, to which no entry could point, is as good as none, and goes back.
#[test]
fn a_frame_beyond_the_output_width_is_no_table() {
    let memory = Arc::new(SparseMemory::new());
    let wide = *table(&memory).format();
    // Room for the root and for the first table. The allocator leaves gaps.
    let geometry = Geometry::new(&[9, 9, 9], Level::BLOCK_2M, 14).unwrap();
    let memory = Arc::new(SparseMemory::new());
    let mut table = table_in(wide.with_geometry(geometry), &memory);
    let out = table.host().frames.outstanding();
    assert_eq!(out, [HostPhysAddr::ZERO], "the root");
    let (host, flags) = (HostPhysAddr::new(0x1000), MappingFlags::READ_WRITE);
    let mapped = table.map(range(0, 0x1000), host, flags);
    assert_eq!(mapped, Err(MapError::OutOfMemory { frames: 2 }));
    assert_eq!(table.host().frames.outstanding(), out);
}

/// Every edit that stored something ends with a barrier, and every invalidation comes after one.
#[test]
fn stores_are_published_before_anybody_relies_on_them() {
    let memory = Arc::new(SparseMemory::new());
    let mut table = table(&memory);
    let mut published = 0;
    let mut after = |what: &str, table: &NestedPageTable<Watched, Host>| {
        assert!(PUBLISHED.get() > published, "{what} was not published");
        let seen = table.host().published.take();
        assert!(
            seen.iter().all(|count| *count > published),
            "{what}: invalidated before"
        );
        published = PUBLISHED.get();
    };
    let flags = MappingFlags::READ_WRITE;
    table
        .map(range(0, 0x4000_0000), HostPhysAddr::ZERO, flags)
        .unwrap();
    after("a fresh mapping", &table);
    table
        .protect(range(0, 0x4000_0000), MappingFlags::READ)
        .unwrap();
    after("a changed permission", &table);
    table.unmap(range(0x1000, 0x1000)).unwrap();
    after("a split", &table);
    table.unmap(range(0, 0x20_0000)).unwrap();
    after("an unlinked table", &table);
    table.edit().reclaim_empty().unwrap();
    assert_eq!(PUBLISHED.get(), published, "nothing was stored");
}

/// While a split copies a leaf that the hardware may write, the leaf is out of its reach.
#[test]
fn a_leaf_is_out_of_reach_while_it_is_split() {
    let memory = Arc::new(SparseMemory::new());
    let mut table = table(&memory);
    let block = range(0x4000_0000, 0x4000_0000);
    table
        .map(block, HostPhysAddr::ZERO, MappingFlags::READ_WRITE)
        .unwrap();
    let entry = HostPhysAddr::new(table.root().as_u64() + 8);
    assert!(
        memory.read(entry).unwrap() & 1 == 1,
        "the entry of the second GiB"
    );
    let seen = Arc::new(std::sync::Mutex::new(None));
    let (memory, note) = (Arc::clone(&memory), Arc::clone(&seen));
    BEFORE_SPLIT.set(Some(Box::new(move || {
        *note.lock().unwrap() = memory.read(entry)
    })));
    table.unmap(range(0x4000_0000, 0x1000)).unwrap();
    let bits = seen.lock().unwrap().expect("a split");
    assert_eq!(bits & 1, 0, "a walker could still write to {bits:#x}");
}

/// A host that unwinds while a leaf is broken: the leaf is there again, and nothing that was changed
/// before is forgotten, so that the page cannot be mapped anew without an invalidation.
#[test]
fn a_host_that_unwinds_within_a_split_loses_no_change() {
    let memory = Arc::new(SparseMemory::new());
    let mut table = table(&memory);
    let flags = MappingFlags::READ_WRITE;
    let host = HostPhysAddr::new(0x4000_0000);
    table.map(range(0x1f_f000, 0x1000), host, flags).unwrap();
    table.map(range(0x20_0000, 0x20_0000), host, flags).unwrap();
    table.host().panics.set(true);
    let unmapped = catch_unwind(AssertUnwindSafe(|| table.unmap(range(0x1f_f000, 0x2000))));
    assert!(unmapped.is_err(), "the host did not panic");
    assert_eq!(
        led_to(&table, 0x3f_f000),
        Some(HostPhysAddr::new(0x401f_f000))
    );
    // The drop of the edit has made up for it, with the page's own range.
    assert_eq!(table.host().published.borrow().len(), 1);
    table.unmap(range(0x20_0000, 0x1000)).unwrap();
    assert_eq!(led_to(&table, 0x20_0000), None);
    assert!(led_to(&table, 0x20_1000).is_some());
}

/// What a split took out and put back, when the host unwound, is published like every other store.
#[test]
fn a_leaf_that_is_put_back_is_published() {
    let memory = Arc::new(SparseMemory::new());
    let mut table = table(&memory);
    let host = HostPhysAddr::new(0x4000_0000);
    table
        .map(range(0, 0x20_0000), host, MappingFlags::READ_WRITE)
        .unwrap();
    let before = PUBLISHED.get();
    table.host().panics.set(true);
    let unmapped = catch_unwind(AssertUnwindSafe(|| table.unmap(range(0, 0x1000))));
    assert!(unmapped.is_err(), "the host did not panic");
    assert_eq!(led_to(&table, 0), Some(host));
    assert_eq!(PUBLISHED.get() - before, 2, "taken out, and put back");
}

/// A split breaks the leaf before it makes the table: where absent entries may be remembered, that has to
/// be forgotten too.
#[test]
fn what_was_absent_for_a_moment_is_forgotten_where_it_may_be_remembered() {
    let memory = Arc::new(SparseMemory::new());
    for fresh in [false, true] {
        FRESH_NEEDS_INVALIDATION.set(fresh);
        let mut table = table(&memory);
        let flags = MappingFlags::READ_WRITE;
        table
            .map(range(0, 0x20_0000), HostPhysAddr::ZERO, flags)
            .unwrap();
        table.host().published.take();
        table.unmap(range(0, 0x1000)).unwrap();
        let invalidations = table.host().published.take().len();
        assert_eq!(invalidations, 1 + usize::from(fresh));
    }
    FRESH_NEEDS_INVALIDATION.set(false);
}

fn led_to(table: &NestedPageTable<Watched, Host>, address: u64) -> Option<HostPhysAddr> {
    table.host_of(GuestPhysAddr::new(address))
}
