//! Reading a table in order: entries, leaves, counts.
//!
//! `table` calls this wing through a shared reference, so no operation changes the table meanwhile. Only the hardware may
//! write: it sets accessed and dirty bits. Each entry is loaded once, and the visitor gets the loaded word with its meaning.
//!
//! - `visit_entries` shows the present entries that translate a byte of the range, in ascending order, a table before the
//!   entries below it. The visitor may end the visit.
//! - `visit` shows the leaves alone. It walks from the root to a row of leaves, and loops over these.
//! - `statistics` counts tables and leaves by such a visit. No count is kept between calls.
//!
//! A visit skips absent entries, and so skips notes too. It shows what is mapped now, even while an invalidation is
//! pending: some CPUs may still use older translations. Nothing here allocates, and nothing can fail.
//!
//! May name: `settle`, `tree`, `contract`.

pub(crate) mod statistics;
pub(crate) mod visit;
