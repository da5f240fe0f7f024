//! What a backend provides: a bijection between neutral entries and bits, and numbers.
#![expect(
    unsafe_code,
    reason = "the trait whose laws keep the engine in its own tables"
)]

use core::fmt::Debug;

use guest_addr::HostPhysAddr;
use mapping_flags::{FlagsError, MappingFlags};

use crate::contract::entry::{Entry, Leaf};
use crate::contract::geometry::Geometry;
use crate::contract::invalidation::Change;
use crate::contract::level::Level;
use crate::contract::note::Note;
use crate::contract::policy::LeafPolicy;

/// The table format of one architecture in one mode with the capabilities of one machine.
///
/// A format translates and does nothing else: no loops, no allocation, no memory access. A value is
/// made once, from a mode and capabilities. The methods are small, and the compiler inlines them into the walker.
///
/// # Safety
///
/// The engine follows the addresses that a format decodes, and writes there. The implementor promises these
/// laws, for every level of the geometry, every host address that fits the output width and is aligned
/// to the level's entry size, and all flags that [`check_flags`](Self::check_flags) accepts:
///
/// 1. `decode(level, encode_leaf(level, address, flags))` is that leaf, for leaf levels.
/// 2. `decode(level, encode_table(address))` is that table, for levels above the pages.
/// 3. `decode(level, absent())` is absent. `decode(level, encode_note(note))` is absent too, for every note of a
///    table or of a leaf, in every configuration of the hardware that the value was made for.
///    `decode_note(encode_note(note))` is that note; [`decode_note`](Self::decode_note) finds none in
///    [`absent`](Self::absent), nor in any other word that the format makes.
/// 4. `encode_leaf(level, address, flags)` is `leaf_attributes(level, flags) |
///    address_bits(address)`, and `address_bits` is additive, as a field of consecutive bits is: the
///    bits of a sum that fits the output width are the sum of the bits.
/// 5. No bit that the architecture reserves is set.
/// 6. `decode_own` is `decode` for every word that the format makes, and `decode_own_leaf` is `decode_own` for
///    each of them that is no table.
/// 7. `with_permissions` changes no bit of the address, and the same bits in leaves of one level that
///    differ in nothing but their address.
/// 8. [`geometry`](Self::geometry) and [`rules`](Self::rules) return equal values at every call.
/// 9. [`split_leaf`](Self::split_leaf) returns a leaf, and every word that follows it by adding address
///    bits is one.
/// 10. `with_accessed(bits)` of a leaf is the same leaf, and `is_accessed` of it is true.
///
/// # Speculation
///
/// A CPU with L1TF (CVE-2018-3646) may read ahead at the address in an absent entry, and a guest can measure what it
/// read. On such an architecture no absent word may lead to memory that can hold secrets of the host. So a note
/// must not contain an address as it is.
pub unsafe trait Format: Copy + Debug + Send + Sync + 'static {
    /// The shape of the table.
    fn geometry(&self) -> &Geometry;

    /// What a change of a live table needs.
    fn rules(&self) -> UpdateRules;

    /// Whether a leaf can have `flags`: [`MappingFlags::validate`], then what this format cannot
    /// express.
    ///
    /// # Errors
    ///
    /// Those of [`MappingFlags::validate`], then:
    ///
    /// - [`FlagsError::ExecuteOnlyUnsupported`]: `EXECUTE` without `READ` needs a capability that is
    ///   missing.
    /// - [`FlagsError::UncachedUnsupported`]: `UNCACHED` needs a capability that is missing.
    fn check_flags(&self, flags: MappingFlags) -> Result<(), FlagsError>;

    /// All bits but the address of a leaf at `level` with `flags`, which were checked. Accessed and
    /// dirty state is preset unless the hardware tracks it.
    fn leaf_attributes(&self, level: Level, flags: MappingFlags) -> u64;

    /// The bits of the host address of a leaf, which is aligned to 4 KiB and within the output
    /// width. For the size of an entry: the bits to add for the next leaf.
    fn address_bits(&self, address: HostPhysAddr) -> u64;

    /// The word of an entry where nothing is mapped. New tables are filled with it. The same at every call.
    #[inline]
    fn absent(&self) -> u64 {
        0
    }

    /// The word of a note: the hardware takes it for an absent entry. The address of
    /// a note is aligned to 4 KiB and within the output width.
    ///
    /// The default is [`Note::to_plain_word`]. It suits hardware that, if bits 2:0 of an entry are zero, ignores
    /// bits 62:3 and does not speculate past bits 2:0.
    #[inline]
    fn encode_note(&self, note: Note) -> u64 {
        note.to_plain_word()
    }

    /// The note in the word `bits`, which this format made, or `None` if the word is no note.
    #[inline]
    fn decode_note(&self, bits: u64) -> Option<Note> {
        Note::from_plain_word(bits)
    }

    /// A leaf at `level`. `address` is aligned to the level's entry size and within the output
    /// width; `flags` were checked.
    #[inline]
    fn encode_leaf(&self, level: Level, leaf: Leaf) -> u64 {
        self.leaf_attributes(level, leaf.flags) | self.address_bits(leaf.address)
    }

    /// An entry that points to the table at `address`, which is aligned to 4 KiB and within the
    /// output width.
    fn encode_table(&self, address: HostPhysAddr) -> u64;

    /// What `bits` mean to the hardware in an entry of `level`. Total: bits that no encoder made
    /// decode to some entry, or to absent, without a panic.
    fn decode(&self, level: Level, bits: u64) -> Entry;

    /// [`decode`](Self::decode) for words that this format made: what [`absent`](Self::absent),
    /// [`encode_note`](Self::encode_note), [`encode_leaf`](Self::encode_leaf),
    /// [`encode_table`](Self::encode_table), [`with_permissions`](Self::with_permissions),
    /// [`with_accessed`](Self::with_accessed) and [`split_leaf`](Self::split_leaf) returned, with the accessed and dirty state that the hardware added. The
    /// tables contain no other words. So this may skip every check of words that the format never writes.
    #[inline]
    fn decode_own(&self, level: Level, bits: u64) -> Entry {
        self.decode(level, bits)
    }

    /// The leaf that [`decode_own`](Self::decode_own) finds in `bits`, which are no table; `None` where they are
    /// absent.
    #[inline]
    fn decode_own_leaf(&self, level: Level, bits: u64) -> Option<Leaf> {
        match self.decode_own(level, bits) {
            Entry::Leaf(leaf) => Some(leaf),
            _ => None,
        }
    }

    /// The leaf `bits` with the permissions (`READ`, `WRITE`, `EXECUTE`, `USER`) of `flags`. Address,
    /// memory type, accessed and dirty state stay, except that a format without tracking presets
    /// dirty on a leaf that becomes writable.
    fn with_permissions(&self, level: Level, bits: u64, flags: MappingFlags) -> u64;

    /// The leaf `bits` at `level`, split into leaves one level down: returns the first of them. Address, permissions,
    /// memory type, accessed and dirty state stay. For each other leaf, the caller adds
    /// [`address_bits`](Self::address_bits) of its offset. `level` is above the pages.
    fn split_leaf(&self, level: Level, bits: u64) -> u64;

    /// Whether the leaf `bits` has been accessed.
    fn is_accessed(&self, bits: u64) -> bool;

    /// The leaf `bits`, marked as accessed. Nothing else changes. The same word where the hardware does not look at such a
    /// mark.
    fn with_accessed(&self, bits: u64) -> u64;

    /// Whether the leaf `bits` has been written to.
    fn is_dirty(&self, bits: u64) -> bool;

    /// The value of the register that makes `root` the table of the address space `vmid`: hgatp,
    /// VTTBR_EL2, the EPTP, or nCR3.
    fn root_register(&self, root: HostPhysAddr, vmid: u16) -> u64;

    /// The width of a VMID in bits. 16 where the root tags the address space (EPT): every number
    /// fits there.
    fn vmid_bits(&self) -> u32;

    /// Whether the guest's user mode may fetch instructions only from leaves that have `USER` beside
    /// `EXECUTE`. False unless a capability that is off by default asks for it.
    #[inline]
    fn restricts_user_execution(&self) -> bool {
        false
    }

    /// The largest leaves that are safe on the machine, for errata such as CVE-2018-12207. A table makes no larger
    /// leaves, whatever [policy](crate::NestedPageTable::with_leaf_policy) it is given. (The
    /// [geometry](Self::geometry) already excludes leaves that the hardware does not have.)
    #[inline]
    fn leaf_policy(&self) -> LeafPolicy {
        LeafPolicy::HARDWARE
    }

    /// Makes earlier stores to a table visible to the page walkers of all CPUs. This is at most a barrier, never an
    /// invalidation. It does nothing where stores need no barrier.
    #[inline]
    fn publish(&self) {}
}

/// What the hardware demands around a change of a live table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateRules {
    /// A valid entry may be replaced by another that differs in address, size or memory type only
    /// after it was made invalid and the invalidation completed (AArch64).
    pub break_before_make: bool,
    /// Absent entries may be cached, so that a fresh mapping needs an invalidation on the CPU that made it
    /// (RISC-V without Svvptc). Another CPU faults once: see [`Change::Fresh`](crate::Change::Fresh).
    pub fresh_needs_invalidation: bool,
    /// A mapping that gained permissions needs an invalidation. Where it does not (EPT), a stale
    /// translation causes one fault, and the fault removes it.
    pub raised_needs_invalidation: bool,
    /// The hardware may set accessed and dirty bits in entries at any time. So every change of a leaf must be
    /// an atomic read-modify-write.
    pub hardware_writes_entries: bool,
}

impl UpdateRules {
    /// Whether CPUs must be told of `change`.
    #[inline]
    pub(crate) fn needs_invalidation(&self, change: Change) -> bool {
        match change {
            Change::Fresh => self.fresh_needs_invalidation,
            Change::Raised => self.raised_needs_invalidation,
            Change::Removed => true,
        }
    }
}
