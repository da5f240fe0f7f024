//! Changes that wait for their invalidation, and the work that follows it.
//!
//! A CPU may use a translation, or walk a table, after its entry has changed. So no operation gives back a table that was
//! linked. An operation records the range that it changed in the *gather*. If it removes a table, or a leaf that must be
//! reported, it leaves a *note* in the entry: a word that is absent for the hardware and says what was there. This wing
//! makes one invalidation request from the gather. After the host has carried out the request, it reports leaves and
//! gives tables back.
//!
//! # Who calls it
//!
//! Every operation of `change` adds to the gather. An *edit* is a group of operations with one invalidation. `change`
//! calls `flush` when an edit ends. It calls `settle` before it maps a range in which a removal waits for its
//! invalidation. `table` calls `release_tree` when a table is dropped.
//!
//! # The order of a flush
//!
//! 1. *Publish*: `Format::publish` makes the stores visible to the page walkers of all CPUs. If no range changed, the
//!    flush ends here.
//! 2. *Invalidate*: the host gets one request with all ranges. It returns when every CPU has forgotten them.
//! 3. *Report*, for `unmap_reporting` only: the leaves that left a note, and the leaves in unlinked tables. An entry
//!    becomes absent before its leaf is reported.
//! 4. *Sweep*: the notes of tables in the ranges are removed, and the tables are given back.
//! 5. *Clear*: the gather is empty.
//!
//! # Invariants
//!
//! - No frame that was linked is given back before step 4.
//! - The ranges of the gather cover every entry that holds a note. So the sweep reads only these ranges.
//! - Nothing is allocated. The gather has room for eight ranges. A ninth joins the last range, and the request then asks
//!   for everything, so the sweep still finds every note.
//! - The gather belongs to the tree and not to the edit. If an edit is leaked (`mem::forget`), the next flush
//!   carries out its changes.
//! - The gather also remembers the *directory* of the last leaf: the 512 entries that translate its GiB.
//!   `note_retired_table` forgets it, and the sweep runs only after a call of this function. So a remembered directory is
//!   never given back.
//!
//! # What may fail
//!
//! | failure | what follows |
//! |---|---|
//! | `invalidate` returns an error, or panics | steps 3 to 5 do not happen. All ranges stay pending, and the next flush repeats the request |
//! | the caller's report closure panics | the leaf of this call counts as reported. The others keep their notes, and no table is given back. Until the next `unmap_reporting`, an `unmap` of a range, a `map` of these ranges, and a `map` of a huge leaf in the place of empty tables, return `Unsettled::Unreported` |
//! | `invalidate` fails when a table is dropped | its frames are never given back, since a CPU may still walk them |
//!
//! | file | what it holds |
//! |---|---|
//! | `gather` | the changed ranges, and flags: stores to publish, notes of tables, notes of leaves |
//! | `gathering_tree` | a tree with its gather: what operations work on |
//! | `release` | the flush, the sweep, the end of a table |
//! | `report` | reports of unmapped leaves |
//!
//! May name: `tree`, `contract`.

pub(crate) mod gather;
pub(crate) mod gathering_tree;
pub(crate) mod release;
pub(crate) mod report;
