//! The tree of tables in memory: the only wing that touches table words.
//!
//! | file | what it holds |
//! |---|---|
//! | `words` | host memory as entries: atomics when the table is live, plain words before |
//! | `tables` | from the root to the entry that translates an address |
//! | `slots`, `pass` | the entries that a range touches, in one table and in the tree |
//! | `recent` | the directory and the flags of the last single page |
//! | `retired` | notes in absent entries |
//! | `watch` | a test sees each access before it happens (feature `watch`) |
//!
//! May name: `contract`.

pub(crate) mod pass;
pub(crate) mod recent;
pub(crate) mod retired;
pub(crate) mod slots;
pub(crate) mod tables;
#[cfg(feature = "watch")]
pub mod watch;
pub(crate) mod words;
