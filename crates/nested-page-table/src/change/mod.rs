//! The operations that change a table.
//!
//! An operation has two halves. The first checks its arguments, surveys the entries of its range, and takes
//! the frames for new tables: it can fail, and has changed nothing then. The second writes entries: it cannot
//! fail. New tables are filled with plain stores and linked by one release store when they are complete.
//!
//! What an operation removes is not given back here. An unlinked table, or a leaf that has to be reported,
//! leaves a note in its entry, and the range goes into the gather: [`settle`](crate::settle) does the rest.
//!
//! | file | what it holds |
//! |---|---|
//! | `edit`, `alone` | a group of changes; operations that are such a group by themselves |
//! | `map`, `unmap`, `protect`, `reclaim` | the operations |
//! | `one_page` | single pages that take one store |
//! | `survey`, `reserve` | the first half: what is needed, and the frames for it |
//! | `build`, `split`, `rewrite` | the second half: new tables, tables in place of leaves, permissions |
//!
//! May name: `read`, `settle`, `tree`, `contract`.

pub(crate) mod alone;
pub(crate) mod build;
pub(crate) mod edit;
pub(crate) mod map;
pub(crate) mod one_page;
pub(crate) mod protect;
pub(crate) mod reclaim;
pub(crate) mod reserve;
pub(crate) mod rewrite;
pub(crate) mod split;
pub(crate) mod survey;
pub(crate) mod unmap;
