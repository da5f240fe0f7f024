//! The tree of tables: reading entries and following them down.
#![expect(
    unsafe_code,
    reason = "turns the addresses of live tables into their entries"
)]

use core::sync::atomic::Ordering;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use mapping_flags::{FlagsError, MappingFlags};

use crate::contract::entry::Entry;
use crate::contract::format::Format;
use crate::contract::geometry::Geometry;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::contract::mapping::Mapping;
use crate::contract::note::Note;
use crate::contract::policy::LeafPolicy;
use crate::tree::pass::Found;
use crate::tree::slots::span_of;
use crate::tree::words::{self, FRAME_WORDS, Word};

/// A table that is linked into the tree, or the root.
///
/// Invariant: made by [`Tables::root`], or by [`Tables::child`] from an entry of such a table, and
/// used only while the table is linked or was unlinked and not yet given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) address: HostPhysAddr,
    pub(crate) level: Level,
}

/// A table, and the range that is asked for, which lies within what the table translates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) table: Table,
    pub(crate) range: GuestPhysRange,
}

/// Where an operation begins. Not a tuple, which would be copied into its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Top<'t> {
    pub(crate) part: Part,
    /// The entry of the table below which all of the range lies, if it is absent and the operation can end there.
    pub(crate) absent: Option<&'t Word>,
}

/// A tree of tables and what is needed to read it.
///
/// Invariants:
///
/// - `root` is a run of `geometry.root_frames()` frames from `host.frames()`, every table below it
///   one frame; all stay out until the tree gives them back;
/// - each table has one parent entry, and every table entry was written by this crate;
/// - the words of linked tables are written through atomics only, and read so wherever anybody else may
///   write them meanwhile.
#[derive(Debug)]
pub(crate) struct Tables<F: Format, H: TableHost> {
    pub(crate) format: F,
    pub(crate) host: H,
    pub(crate) root: HostPhysAddr,
    pub(crate) policy: LeafPolicy,
}

impl<F: Format, H: TableHost> Tables<F, H> {
    #[inline]
    pub(crate) fn geometry(&self) -> &Geometry {
        self.format.geometry()
    }

    #[inline]
    pub(crate) fn frames(&self) -> &H::Frames {
        self.host.frames()
    }

    #[inline]
    pub(crate) fn root(&self) -> Table {
        Table {
            address: self.root,
            level: self.geometry().root_level(),
        }
    }

    /// The table that an entry of the level `parent` points to at `address`, or `None` below the pages.
    #[inline]
    pub(crate) fn child(&self, parent: Level, address: HostPhysAddr) -> Option<Table> {
        let level = parent.below()?;
        Some(Table { address, level })
    }

    /// The entries of a table.
    #[inline]
    pub(crate) fn entries(&self, table: Table) -> &[Word] {
        let count = self.geometry().entries(table.level);
        // SAFETY: by the invariants of `Table` and `Tables` the table has `count` words that came
        // from these frames and stay out; private slices are made of unlinked frames only.
        unsafe { words::live(self.frames(), table.address, count) }
    }

    #[inline]
    pub(crate) fn decode(&self, level: Level, entry: &Word) -> Entry {
        self.format.decode_own(level, entry.load())
    }

    /// Follows tables down to the entry that ends the walk of `address`, and returns what `look` makes
    /// of its level and its word: a leaf, or absent. `None` beyond the input width.
    ///
    /// A ladder of one rung for each level: with a level that is known, all shifts are constant, in the walk and in
    /// each copy of `look`. A walk enters the ladder at the root's rung.
    #[inline(always)]
    pub(crate) fn walk<R>(
        &self,
        address: GuestPhysAddr,
        look: impl Fn(Level, u64) -> Option<R>,
    ) -> Option<R> {
        let root = self.geometry().root_level();
        self.walk_from(root, self.root_entry(root, address)?, address, look)
    }

    /// [`walk`](Self::walk) from the entry `first` of the root, which is of level `root`.
    #[inline(always)]
    fn walk_from<R>(
        &self,
        root: Level,
        first: &Word,
        address: GuestPhysAddr,
        look: impl Fn(Level, u64) -> Option<R>,
    ) -> Option<R> {
        let mut bits = first.load_acquire();
        macro_rules! rung {
            ($level:ident, $below:ident) => {
                if Level::$level <= root {
                    match self.format.decode_own(Level::$level, bits) {
                        Entry::Table(table) => {
                            bits = self
                                .entry_in_frame(table, Level::$below, address)
                                .load_acquire();
                        }
                        _ => return look(Level::$level, bits),
                    }
                }
            };
        }
        rung!(HIGHEST, BLOCK_512G);
        rung!(BLOCK_512G, BLOCK_1G);
        rung!(BLOCK_1G, BLOCK_2M);
        rung!(BLOCK_2M, PAGE_4K);
        look(Level::PAGE_4K, bits)
    }

    /// Follows tables down to the one where the walk of `address` ends, and returns what `look` makes of its level and of
    /// its entries from the one that translates `address` on. `None` beyond the input width.
    ///
    /// A ladder, as [`walk`](Self::walk) is.
    #[inline(always)]
    pub(crate) fn walk_to_entries<'t, R>(
        &'t self,
        address: GuestPhysAddr,
        look: impl Fn(Level, &'t [Word]) -> Option<R>,
    ) -> Option<R> {
        let root = self.geometry().root_level();
        let mut entries = match root {
            // With a shift that is known.
            Level::BLOCK_512G => self.root_entries_from(Level::BLOCK_512G, address),
            root => self.root_entries_from(root, address),
        }?;
        macro_rules! rung {
            ($level:ident, $below:ident) => {
                if Level::$level <= root {
                    match self
                        .format
                        .decode_own(Level::$level, entries.first()?.load_acquire())
                    {
                        Entry::Table(table) => {
                            entries = self.entries_in_frame_from(table, Level::$below, address);
                        }
                        _ => return look(Level::$level, entries),
                    }
                }
            };
        }
        rung!(HIGHEST, BLOCK_512G);
        rung!(BLOCK_512G, BLOCK_1G);
        rung!(BLOCK_1G, BLOCK_2M);
        rung!(BLOCK_2M, PAGE_4K);
        look(Level::PAGE_4K, entries)
    }

    /// All entries for `guest`, and their level, if they stand side by side in the table where the walk of its first
    /// address ends, and `guest` has the whole of each.
    #[inline(always)]
    pub(crate) fn row(&self, guest: GuestPhysRange) -> Option<(Level, &[Word])> {
        let (start, size) = (guest.start(), guest.size());
        self.walk_to_entries(start, |level, entries| {
            let below = (1 << level.shift()) - 1;
            if (start.as_u64() | size) & below != 0 {
                return None;
            }
            let count = size >> level.shift();
            Some((level, entries.get(..count as usize)?))
        })
    }

    /// The entry of the root, which is of level `root`, that translates `address`, or `None` beyond
    /// the input width.
    #[inline]
    pub(crate) fn root_entry(&self, root: Level, address: GuestPhysAddr) -> Option<&Word> {
        self.root_entries_from(root, address)?.first()
    }

    /// The entries of the root, which is of level `root`, from the one that translates `address` on. `None`, or no entry
    /// beyond the input width.
    #[inline]
    pub(crate) fn root_entries_from(&self, root: Level, address: GuestPhysAddr) -> Option<&[Word]> {
        let geometry = self.geometry();
        // SAFETY: as for `entries`.
        let entries = unsafe { words::live(self.frames(), self.root, geometry.root_entries()) };
        // All bits above those of the other levels: out of bounds where the address is too wide.
        let number = address.as_u64() >> geometry.shift(root);
        entries.get(number as usize..)
    }

    /// The entries in the frame at `table`, a table of `level`, from the one that translates `address` on.
    #[inline]
    pub(crate) fn entries_in_frame_from(
        &self,
        table: HostPhysAddr,
        level: Level,
        address: GuestPhysAddr,
    ) -> &[Word] {
        let number = address.as_u64() >> self.geometry().shift(level);
        // SAFETY: as for `entry_in_frame`.
        let entries = unsafe { words::live_frame(self.frames(), table) };
        // The remainder is in bounds.
        entries
            .get(number as usize % FRAME_WORDS..)
            .unwrap_or_default()
    }

    /// The entry that translates `address` in the frame at `table`: a table of `level`, or the part
    /// of a root that translates it.
    ///
    /// The table is linked, or a stale walk could read it: see [`Table`].
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the remainder is in bounds")]
    pub(crate) fn entry_in_frame(
        &self,
        table: HostPhysAddr,
        level: Level,
        address: GuestPhysAddr,
    ) -> &Word {
        let number = address.as_u64() >> self.geometry().shift(level);
        // SAFETY: as for `entries`; tables below the root are whole frames, as parts of a root are.
        let entries = unsafe { words::live_frame(self.frames(), table) };
        &entries[number as usize % FRAME_WORDS]
    }

    /// Leaves in `entry` the note of the table at `address`, which it pointed to.
    #[inline]
    pub(crate) fn note_table(&self, entry: &Word, address: HostPhysAddr) {
        let note = self.format.encode_note(Note::Table(address));
        entry.store(note, Ordering::Relaxed);
    }

    /// The table of which `bits` are the note.
    #[inline]
    pub(crate) fn noted_table(&self, bits: u64) -> Option<HostPhysAddr> {
        match self.format.decode_note(bits) {
            Some(Note::Table(address)) => Some(address),
            _ => None,
        }
    }

    /// The lowest table of which `range` is a part, and not all: where the range covers all that a
    /// table translates, the entry that points to the table is part of the matter.
    pub(crate) fn lowest_over(&self, range: GuestPhysRange) -> Top<'_> {
        self.lowest_for(range, Level::HIGHEST)
    }

    /// The table where a change of `range` to leaves of at most `largest` begins: the lowest of which the
    /// range is a part, and not all that a leaf could translate. Where it ends at an absent entry, below
    /// which all of the range lies, that too.
    pub(crate) fn lowest_for(&self, range: GuestPhysRange, largest: Level) -> Top<'_> {
        let differing = range.start().as_u64() ^ range.last().as_u64();
        let is_block =
            range.start().as_u64() & differing == 0 && differing.wrapping_add(1) & differing == 0;
        let may_be_leaf = is_block && differing < self.geometry().entry_size(largest);
        // So that what could be a leaf is no part of its own entry.
        let extent = differing + u64::from(may_be_leaf);
        let top = |table, absent| {
            let part = Part { table, range };
            Top { part, absent }
        };
        let mut table = self.root();
        let Some(mut entry) = self.root_entry(table.level, range.start()) else {
            return top(table, None);
        };
        while extent >> table.level.shift() == 0 {
            match (self.find(table.level, entry.load()), table.level.below()) {
                (Found::Table(address), Some(level)) => {
                    table = Table { address, level };
                    entry = self.entry_in_frame(address, level, range.start());
                }
                (Found::Absent, _) => return top(table, Some(entry)),
                _ => break,
            }
        }
        top(table, None)
    }

    /// Whether a leaf can have `flags`.
    pub(crate) fn check_flags(&self, flags: MappingFlags) -> Result<(), FlagsError> {
        self.format.check_flags(flags)
    }

    /// All bits but the address of a leaf at `level` with `flags`.
    pub(crate) fn leaf_attributes(&self, level: Level, flags: MappingFlags) -> u64 {
        self.format.leaf_attributes(level, flags)
    }

    /// The leaf that translates `address`.
    #[inline(always)]
    pub(crate) fn leaf(&self, address: GuestPhysAddr) -> Option<Mapping> {
        let root = self.geometry().root_level();
        let first = match root {
            // With a shift that is known.
            Level::BLOCK_512G => self.root_entry(Level::BLOCK_512G, address),
            root => self.root_entry(root, address),
        }?;
        self.walk_from(root, first, address, |level, bits| {
            let leaf = self.format.decode_own_leaf(level, bits)?;
            Some(Mapping {
                guest: span_of(self.geometry(), level, address),
                host: leaf.address,
                flags: leaf.flags,
                level,
            })
        })
    }

    /// The highest level for a leaf with `flags` where guest and host address differ by `delta`.
    #[inline]
    pub(crate) fn largest_leaf(&self, flags: MappingFlags, delta: u64) -> Level {
        let hardware = self.geometry().largest_leaf();
        let mut level = self.policy.largest_for(flags).min(hardware);
        while delta & (self.geometry().entry_size(level) - 1) != 0
            && let Some(below) = level.below()
        {
            level = below;
        }
        level
    }
}
