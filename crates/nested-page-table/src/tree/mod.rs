//! The tree of tables in memory: the only wing that touches table words.
//!
//! A tree is a root and the tables below it. Each table is host memory from `HostFrames`, and page walkers of other CPUs
//! read it, and write accessed and dirty bits, at any time. `change`, `settle` and `read` reach the words through this
//! wing. It allocates nothing, gives nothing back, and knows no operation.
//!
//! # Two views of a table
//!
//! | view | what it is | who may use it |
//! |---|---|---|
//! | *live* | `Word`: 64-bit atomic loads, stores and exchanges | every operation, for the root and every linked table, and for an unlinked table until it is given back |
//! | *private* | a plain slice of `u64` | the one operation that builds the table, before an entry points to it |
//!
//! A table has one of the two views at a time. The store that links a table makes it live. That store is a release: a
//! walker that reads the link then reads complete words. A live table never becomes private again.
//!
//! # From an address to an entry
//!
//! 1. `Tables::root_entry` takes all bits above those of the lower levels as the index. So an address that is too wide is
//!    out of bounds, and never an alias.
//! 2. Each level decodes one word, by `Format::decode_own`, and follows it to the next table.
//! 3. `lowest_for` stops at the lowest table of which a range is a part. An operation begins there.
//! 4. `pass` visits the entries of a range in ascending order. It shows an operation consecutive entries that the range
//!    covers whole as a `Run`. The operation handles as many as are alike in one loop, and works out once what depends on
//!    their attributes. What it leaves, `pass` shows entry by entry (`Seen`): the word, its meaning, and whether the range
//!    covers the whole entry. The operation answers `Next`: over, into the table below, or stop. One copy of this
//!    recursion serves all operations.
//!
//! # Invariants
//!
//! - The root is a run of frames from the host, and every table below it is one frame. They stay out until `settle` gives
//!   them back.
//! - Each table has one parent entry, and this crate wrote every entry that points to a table. So an address in a table
//!   entry is the address of a table.
//! - A word of a live table is written by atomics only. Plain loads exist for one case: comparing entries that neither a
//!   CPU nor a page walker writes (`all_have`).
//! - The remembered directory (`recent`) is linked, or is the root. `settle` forgets it before a table can be given
//!   back.
//!
//! Nothing here can fail. A walk beyond the input width, or below the pages, finds nothing.
//!
//! | file | what it holds |
//! |---|---|
//! | `words` | host memory as entries, live or private |
//! | `tables` | from the root to the entry that translates an address |
//! | `slots`, `pass` | the entries that a range touches, in one table and in the tree |
//! | `recent` | the directory and the flags of the last single page |
//! | `retired` | the notes of leaves |
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
