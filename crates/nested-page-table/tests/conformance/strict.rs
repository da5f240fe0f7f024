//! A format that insists on what its callers have promised it, and that a test can watch.

use std::cell::{Cell, RefCell};

use guest_addr::HostPhysAddr;
use mapping_flags::{FlagsError, MappingFlags};
use nested_page_table::{Entry, Format, Geometry, Leaf, LeafPolicy, Level, Note, UpdateRules};

type Hook = Box<dyn FnMut()>;

thread_local! {
    /// How often stores were published.
    pub(crate) static PUBLISHED: Cell<u32> = const { Cell::new(0) };
    /// What happens when stores are published.
    pub(crate) static ON_PUBLISH: Cell<fn()> = const { Cell::new(|| ()) };
    /// Whether absent entries may be remembered where the format itself does not say so.
    pub(crate) static FRESH_NEEDS_INVALIDATION: Cell<bool> = const { Cell::new(false) };
    /// What happens between the reading of the next leaf and its split.
    pub(crate) static BEFORE_SPLIT: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// The format `F`, which fails the test where the table breaks a condition of [`Format`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strict<F> {
    format: F,
    geometry: Geometry,
}

impl<F: Format> Strict<F> {
    pub(crate) fn new(format: F) -> Self {
        let geometry = *format.geometry();
        Self { format, geometry }
    }

    /// The same entries in tables of another shape.
    pub(crate) fn with_geometry(self, geometry: Geometry) -> Self {
        Self { geometry, ..self }
    }

    fn check_address(&self, address: HostPhysAddr) {
        assert!(address.is_aligned_4k(), "{address} is not aligned");
        let fits = self.geometry.holds_host_address(address);
        assert!(fits, "{address} is beyond the output width");
    }

    fn check_leaf(&self, level: Level, bits: u64) {
        let entry = self.format.decode(level, bits);
        assert!(
            matches!(entry, Entry::Leaf(_)),
            "{bits:#x} at {level}: {entry:?}"
        );
    }
}

// SAFETY: the laws are those of `F`: what is returned is what `F` returns, and `geometry` is copied from it
// or from a test.
unsafe impl<F: Format> Format for Strict<F> {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn rules(&self) -> UpdateRules {
        let mut rules = self.format.rules();
        rules.fresh_needs_invalidation |= FRESH_NEEDS_INVALIDATION.get();
        rules
    }

    fn check_flags(&self, flags: MappingFlags) -> Result<(), FlagsError> {
        self.format.check_flags(flags)
    }

    fn leaf_attributes(&self, level: Level, flags: MappingFlags) -> u64 {
        assert!(
            level <= self.geometry.largest_leaf(),
            "no leaves at {level}"
        );
        assert_eq!(self.format.check_flags(flags), Ok(()), "{flags:?}");
        self.format.leaf_attributes(level, flags)
    }

    fn address_bits(&self, address: HostPhysAddr) -> u64 {
        self.check_address(address);
        self.format.address_bits(address)
    }

    fn absent(&self) -> u64 {
        self.format.absent()
    }

    fn encode_note(&self, note: Note) -> u64 {
        let (Note::Table(address) | Note::Leaf { address, .. }) = note;
        self.check_address(address);
        self.format.encode_note(note)
    }

    fn decode_note(&self, bits: u64) -> Option<Note> {
        self.format.decode_note(bits)
    }

    fn encode_table(&self, address: HostPhysAddr) -> u64 {
        self.check_address(address);
        self.format.encode_table(address)
    }

    fn decode(&self, level: Level, bits: u64) -> Entry {
        self.format.decode(level, bits)
    }

    fn decode_own(&self, level: Level, bits: u64) -> Entry {
        let entry = self.format.decode_own(level, bits);
        assert_eq!(
            entry,
            self.format.decode(level, bits),
            "{bits:#x} at {level} is no word of the format"
        );
        entry
    }

    fn decode_own_leaf(&self, level: Level, bits: u64) -> Option<Leaf> {
        let leaf = match self.decode_own(level, bits) {
            Entry::Leaf(leaf) => Some(leaf),
            Entry::Absent => None,
            Entry::Table(_) => panic!("{bits:#x} at {level} is a table"),
        };
        assert_eq!(self.format.decode_own_leaf(level, bits), leaf, "{bits:#x}");
        leaf
    }

    fn with_permissions(&self, level: Level, bits: u64, flags: MappingFlags) -> u64 {
        self.check_leaf(level, bits);
        self.format.with_permissions(level, bits, flags)
    }

    fn split_leaf(&self, level: Level, bits: u64) -> u64 {
        assert_ne!(level, Level::PAGE_4K, "a page has no parts");
        self.check_leaf(level, bits);
        if let Some(hook) = BEFORE_SPLIT.take().as_mut() {
            hook();
        }
        self.format.split_leaf(level, bits)
    }

    fn is_accessed(&self, bits: u64) -> bool {
        self.format.is_accessed(bits)
    }

    fn with_accessed(&self, bits: u64) -> u64 {
        let marked = self.format.with_accessed(bits);
        assert!(self.format.is_accessed(marked), "{bits:#x}");
        marked
    }

    fn is_dirty(&self, bits: u64) -> bool {
        self.format.is_dirty(bits)
    }

    fn root_register(&self, root: HostPhysAddr, vmid: u16) -> u64 {
        self.check_address(root);
        self.format.root_register(root, vmid)
    }

    fn vmid_bits(&self) -> u32 {
        self.format.vmid_bits()
    }

    fn restricts_user_execution(&self) -> bool {
        self.format.restricts_user_execution()
    }

    fn leaf_policy(&self) -> LeafPolicy {
        self.format.leaf_policy()
    }

    fn publish(&self) {
        PUBLISHED.set(PUBLISHED.get() + 1);
        ON_PUBLISH.get()();
        self.format.publish();
    }
}
