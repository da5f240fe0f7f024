//! What waits for its invalidation, and what happens after it.
//!
//! A change is noted in the [`gather`] as a range. The batch is carried out in this order:
//!
//! 1. stores to the tables become visible to page walkers;
//! 2. the host invalidates all ranges, and returns when every CPU has done so;
//! 3. leaves that left a note are reported, for operations that report;
//! 4. a sweep of the ranges removes the notes and gives the tables that they name back.
//!
//! So nothing comes back while a CPU could still use it, and nothing has to be allocated to remember it.
//!
//! May name: `tree`, `contract`.

pub(crate) mod gather;
pub(crate) mod gathering_tree;
pub(crate) mod release;
pub(crate) mod report;
