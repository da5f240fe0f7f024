//! The operations that change a table.
//!
//! `table` calls them, through `edit` for a group of changes, or through `alone` for an operation that is a group by
//! itself. They work on a tree with its gather (`GatheringTree`), borrowed mutably: there is one writer at a time. Page
//! walkers of other CPUs read the tree meanwhile.
//!
//! # The steps of an operation
//!
//! 1. *Check* the arguments: alignment, widths, flags.
//! 2. *Settle*, for `map` and `reclaim`: if a removal in the range waits for its invalidation, carry it out now. So nothing
//!    is mapped where an old translation may live.
//! 3. *Survey*: one pass reads the range. It finds what is in the way, and counts the frames that new tables need.
//! 4. *Reserve*: take these frames from the host. The survey and the reserve write no entry.
//! 5. *Commit*: write the entries.
//!    - `map` builds new tables while they are private, complete to the last entry, and links each by a release store.
//!      Leaves in tables that exist already are stored after one release fence.
//!    - `unmap` clears whole leaves, splits a leaf at each edge of the range, and unlinks whole tables.
//!    - `protect` rewrites whole leaves in place, and splits the others.
//!    - `reclaim` unlinks tables without a present entry.
//! 6. *Gather*: add the changed range, and whether entries hold notes. [`settle`](crate::settle) does the rest.
//!
//! Two cases skip the survey and the reserve. Below one absent entry nothing can be in the way, so `map` takes frames
//! while it builds. A single page whose table exists is one store (`one_page`).
//!
//! # Invariants
//!
//! - Every word that a page walker can reach is written by one 64-bit atomic store or exchange. It never permits more
//!   than before and after allow together.
//! - A table is complete before it is linked, and one entry links it.
//! - `split` builds the new table from the word of the leaf. So what lies outside the change keeps address, permissions,
//!   memory type, accessed and dirty state.
//! - Where the format demands break before make, `split` removes the leaf, publishes and invalidates, and only then links
//!   the table.
//! - Where the hardware writes entries, a leaf that stays mapped changes by exchanges only. So no bit that the
//!   hardware sets is lost.
//!
//! # What may fail
//!
//! | step | failure | state afterwards |
//! |---|---|---|
//! | check, survey | a bad argument, a conflict | unchanged |
//! | settle | the host cannot invalidate, or leaves are unreported | unchanged; the older batch stays pending |
//! | reserve, `build` | out of memory | unchanged; the frames went back |
//! | commit, `map` of a huge leaf over empty tables | the host cannot invalidate the empty tables | nothing is mapped; the tables are unlinked and pending |
//! | commit, `split` with break before make | the host cannot invalidate the leaf | the leaf is put back; the range before it has changed and is pending |
//!
//! Nothing else in the commit can fail.
//!
//! | file | what it holds |
//! |---|---|
//! | `edit`, `alone` | a group of changes; operations that are such a group by themselves |
//! | `map`, `unmap`, `protect`, `reclaim` | the operations |
//! | `one_page` | single pages that take one store |
//! | `survey`, `permission_survey`, `reserve` | what is needed, and the frames for it |
//! | `build`, `split`, `rewrite` | new tables, tables in place of leaves, permissions |
//!
//! May name: `read`, `settle`, `tree`, `contract`.

pub(crate) mod alone;
pub(crate) mod build;
pub(crate) mod edit;
pub(crate) mod map;
pub(crate) mod one_page;
pub(crate) mod permission_survey;
pub(crate) mod protect;
pub(crate) mod reclaim;
pub(crate) mod reserve;
pub(crate) mod rewrite;
pub(crate) mod split;
pub(crate) mod survey;
pub(crate) mod unmap;
