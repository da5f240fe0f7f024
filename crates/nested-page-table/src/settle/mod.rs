//! What waits for its invalidation, and what happens after it.
//!
//! A CPU may use a translation, or walk a table, after its entry has changed. So no operation gives a frame back. An
//! operation records in the *gather* which range it changed. Where it removes a table, or a leaf that must be reported,
//! it leaves a *note* in the entry. This wing makes one request of the records. Only after the request does it report
//! leaves and give tables back.
//!
//! # Who calls it
//!
//! Every operation of `change` adds to the gather. `change` calls `settle` before it maps where a removal waits, and
//! `flush` when an edit ends. `table` calls `release_tree` when a table is dropped.
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
//! - The ranges of the gather cover every entry that holds a note. So the sweep looks nowhere else.
//! - Nothing is allocated. The gather has room for eight ranges. A ninth joins the last range, and the request then asks
//!   for everything, so the sweep still finds every note.
//! - The gather belongs to the tree and not to the edit. An edit that is leaked delays the flush.
//! - The gather also remembers the directory of the last page. `note_retired_table` forgets it, and the sweep
//!   runs only after a call of this function. So a remembered directory is never given back.
//!
//! # What may fail
//!
//! | failure | what follows |
//! |---|---|
//! | `invalidate` returns an error, or panics | steps 3 to 5 do not happen. The whole batch stays pending, and the next flush asks again |
//! | a report panics | this leaf was reported. The others keep their notes, and no table is swept. Until the next `unmap_reporting`, an `unmap` of a range, and a `map` of these ranges, return `Unsettled::Unreported` |
//! | `invalidate` fails when a table is dropped | its frames are never given back, since a CPU may still walk them |
//!
//! | file | what it holds |
//! |---|---|
//! | `gather` | the ranges, and flags for what else waits |
//! | `gathering_tree` | a tree with its gather: what operations work on |
//! | `release` | the flush, the sweep, the end of a table |
//! | `report` | reports of unmapped leaves |
//!
//! May name: `tree`, `contract`.

pub(crate) mod gather;
pub(crate) mod gathering_tree;
pub(crate) mod release;
pub(crate) mod report;
