//! The tree of tables in memory: the only wing that touches table words.
//!
//! A *wing* is a folder of this crate; `docs/glossary.md` defines the other words in italics. A tree is a root and the
//! tables below it. Each table is host memory from `HostFrames`. Page walkers of other CPUs may read it, and may write
//! accessed and dirty bits, at any time. The wings `change`, `settle` and `read` access table words through this wing.
//! It allocates no frame and gives none back. It contains no operation such as map or unmap.
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
//! 1. `Tables::root_entry` takes all bits above those of the lower levels as the index. So the index of an address that
//!    is too wide is out of bounds, and the address finds no entry.
//! 2. Each level decodes one word, by `Format::decode_own`, and follows it to the next table.
//! 3. `lowest_for` stops at the lowest table that translates the whole range. An operation begins there. If the range is
//!    as large as a leaf of its parent, it stops at the parent, since the operation may replace the whole table.
//! 4. `pass` visits the entries of a range in ascending order. It first shows the operation a `Run`: consecutive entries
//!    that the range covers whole. The operation handles as many equal entries as it can in one loop, and returns their
//!    number. `pass` then shows the next entry alone (`Seen`): the word, its meaning, and whether the range covers the
//!    whole entry. The operation answers with a `Next`: skip what is below, descend into the table, or stop. All
//!    operations share one compiled copy of this recursion.
//!
//! # Invariants
//!
//! - The root is a run of frames from the host, and every table below it is one frame. They stay allocated until
//!   `settle` gives them back.
//! - Each table has one parent entry, and this crate wrote every entry that points to a table. So an address in a table
//!   entry is the address of a table.
//! - Live tables are written by atomics only. They are also read by atomics, with one exception: `all_have` compares
//!   entries by plain loads, while neither a CPU nor a page walker writes them.
//! - A *directory* is the 512 entries that translate one GiB. The remembered directory (`recent`) is linked below the
//!   root. `settle` forgets it before a table can be given back.
//!
//! Nothing here can fail. A walk beyond the input width, or below the pages, finds nothing.
//!
//! | file | what it holds |
//! |---|---|
//! | `words` | host memory as entries, live or private |
//! | `tables` | from the root to the entry that translates an address |
//! | `slots`, `pass` | the entries that a range touches, in one table and in the tree |
//! | `recent` | the directory that was used last |
//! | `encoded` | the bits of the kinds of leaves that were mapped last |
//! | `retired` | the notes of leaves |
//! | `watch` | calls a test before each access (feature `watch`) |
//!
//! May name: `contract`.

pub(crate) mod encoded;
pub(crate) mod pass;
pub(crate) mod recent;
pub(crate) mod retired;
pub(crate) mod slots;
pub(crate) mod tables;
#[cfg(feature = "watch")]
pub mod watch;
pub(crate) mod words;
