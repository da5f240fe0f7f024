//! The operations that change a table.
//!
//! `table` calls them through `edit` or `alone`. An *edit* is a group of operations with one invalidation at its end;
//! `alone` is for an operation with an invalidation of its own. The operations work on a `GatheringTree`: a tree and its
//! *gather*, the list of changed ranges that wait for an invalidation. They borrow it mutably, so there is one writer at
//! a time. Page walkers of other CPUs read the tree meanwhile.
//!
//! # The steps of an operation
//!
//! 1. *Check* the arguments: alignment, widths, flags.
//! 2. *Settle*, for `map` and `reclaim`: if a removal in the range waits for its invalidation, invalidate now. So nothing
//!    is mapped where a CPU may still have an old translation.
//! 3. *Survey*: one pass reads the range. It finds what is in the way, and counts the frames that new tables need.
//! 4. *Reserve*: take these frames from the host. The survey and the reserve write no entry.
//! 5. *Commit*: write the entries.
//!    - `map` builds new tables while they are private, complete to the last entry, and links each by a release store.
//!      Leaves in tables that exist already are stored after one release fence.
//!    - `unmap` clears whole leaves, splits a leaf at each edge of the range, and unlinks whole tables.
//!    - `protect` rewrites whole leaves in place, and splits the others.
//!    - `reclaim` unlinks tables without a present entry.
//! 6. *Gather*: add the changed range, and whether its entries hold *notes* (what a removed table or leaf leaves behind).
//!    [`settle`](crate::settle) invalidates, reports leaves and gives tables back.
//!
//! Two cases skip the survey and the reserve. If the whole range lies below one absent entry, nothing can be in the way,
//! so `map` takes frames while it builds. A single leaf of 4 KiB or 2 MiB whose table exists takes one store (`one_leaf`).
//!
//! # Invariants
//!
//! - Every word that a page walker can reach is written by one 64-bit atomic store or exchange. At no moment does a word
//!   permit an access that neither the state before the operation nor the state after it permits.
//! - A table is complete before it is linked, and one entry links it.
//! - `split` builds the new table from the word of the leaf. So memory outside the range keeps its address, permissions,
//!   memory type, and accessed and dirty bits.
//! - If the format demands break before make, `split` first removes the leaf, then publishes and invalidates, then links
//!   the table.
//! - If the hardware writes accessed and dirty bits, a leaf that stays mapped changes by exchanges only. So no bit that
//!   the hardware sets is lost.
//!
//! # What may fail
//!
//! | step | failure | state afterwards |
//! |---|---|---|
//! | check, survey | a bad argument, a conflict | unchanged |
//! | settle | the host cannot invalidate, or leaves are unreported | unchanged; the earlier changes stay pending |
//! | reserve, `build` | out of memory | unchanged; the frames went back |
//! | commit, `map` of a huge leaf over empty tables | the host cannot invalidate the empty tables | nothing is mapped; the tables are unlinked and pending |
//! | commit, `split` with break before make | the host cannot invalidate the leaf | the leaf is put back; the range before it has changed and is pending |
//!
//! The commit has no other failure.
//!
//! | file | what it holds |
//! |---|---|
//! | `edit`, `alone` | a group of changes; operations that are such a group by themselves |
//! | `map`, `unmap`, `protect`, `reclaim` | the operations |
//! | `one_leaf` | single leaves that take one store |
//! | `permit` | permissions of leaves side by side in one table, without survey and reserve |
//! | `take` | few leaves that wait on the stack until they are reported |
//! | `survey`, `permission_survey`, `reserve` | finding conflicts, counting frames; taking them from the host |
//! | `build`, `split`, `rewrite` | building tables, replacing leaves by tables, changing permissions in place |
//!
//! May name: `read`, `settle`, `tree`, `contract`.

pub(crate) mod alone;
pub(crate) mod build;
pub(crate) mod edit;
pub(crate) mod map;
pub(crate) mod one_leaf;
pub(crate) mod permission_survey;
pub(crate) mod permit;
pub(crate) mod protect;
pub(crate) mod reclaim;
pub(crate) mod reserve;
pub(crate) mod rewrite;
pub(crate) mod split;
pub(crate) mod survey;
pub(crate) mod take;
pub(crate) mod unmap;
