//! What many CPUs do at once, through a shared reference.
//!
//! A CPU that handles a guest's fault should not wait for another that handles a different one. So the operations here
//! take `&self`, and any number of them run at the same time. They only add to a table. Everything that takes away is in
//! [`change`](crate::change), and needs `&mut`; so it never runs beside them.
//!
//! # Who may change what
//!
//! | word in the entry | may become | by |
//! |---|---|---|
//! | absent | a leaf, or a link to a complete table | the CPU whose compare-exchange is first |
//! | a leaf | the same leaf with more permissions, or accessed and dirty bits | any CPU, and the hardware |
//! | a link to a table | nothing else | nobody: tables are unlinked under `&mut` only |
//! | a leaf | its note, for a moment | the CPU that splits it |
//! | a *note* of a frozen leaf | the table that replaces the leaf, or the leaf again | the CPU that froze it, and nobody else |
//! | a *note* of what an edit removed | nothing else | nobody: notes are swept under `&mut` only |
//!
//! # How an operation goes
//!
//! 1. *Check* the arguments. `fill` also asks the gather whether a removal in its range waits for its invalidation. Only
//!    `&mut` operations gather, so the answer does not change meanwhile.
//! 2. *Walk* with acquire loads to the entry where the address ends. A table is complete when its link is seen.
//! 3. *Prepare*: take the frames that are missing, and build all of what is to be linked while nobody sees it.
//! 4. *Exchange* the word in the entry for the new one, by one compare-exchange, which releases. This is the moment at
//!    which the operation takes effect.
//!    `split` cannot do this in one step: CPUs must forget the leaf before the table takes its place. So its exchange
//!    *freezes* the entry: the word becomes the note of the leaf. The hardware takes the note for an absent entry, and all
//!    other operations answer `Busy`. Then `split` invalidates, builds the table from the word of the leaf, and links it by a
//!    store, since the entry is its own. If the invalidation fails or unwinds, the leaf is stored back.
//! 5. If the exchange is lost, begin again with the walk. The frames are kept for the next attempt, and those that are left
//!    at the end are given back.
//!
//! # Invariants
//!
//! - An operation takes effect in one compare-exchange, or not at all. So after an error nothing has changed. A `split`
//!   takes effect when it links its table; it changes no translation, except that none is found while the entry is frozen.
//! - A frozen entry is unfrozen by the call that froze it, whatever happens. So `Busy` ends with that call.
//! - A word that is neither [`Format::absent`](crate::Format::absent) nor present is a note, and nobody overwrites a note that
//!   he did not leave.
//! - No table is unlinked. So a reference to an entry stays valid without epochs or counts.
//! - `recent` and the gather are only read. A fill leaves both right: it unlinks no directory, and removes nothing.
//! - Each lost exchange is the progress of another CPU or of the hardware. There are no locks.
//!
//! | file | what it holds |
//! |---|---|
//! | `place` | the entry where a walk ends, and what is there |
//! | `spare` | table frames that are ready to be linked |
//! | `fill` | a leaf into an absent entry |
//! | `raise` | more permissions for a leaf; the mark that it was accessed |
//! | `split` | a table in the place of a huge leaf |
//!
//! May name: `change`, `read`, `settle`, `tree`, `contract`.

pub(crate) mod fill;
pub(crate) mod place;
pub(crate) mod raise;
pub(crate) mod spare;
pub(crate) mod split;
