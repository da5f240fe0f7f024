//! What backends provide, what hosts provide, and the values that users and hosts see.
//!
//! Three traits are `unsafe`, since the engine relies on them for memory safety. Each lists its conditions.
//!
//! | trait | who implements it | the engine relies on |
//! |---|---|---|
//! | `Format` | a backend | its laws: words decode to what they encode, absent words and notes are absent to the hardware, numbers never change |
//! | `HostFrames` | a hypervisor | exclusive, aligned runs of frames; a stable pointer to each |
//! | `TableHost` | a hypervisor | the same frames at every call; `invalidate` returns `Ok` only when every addressed CPU has forgotten |
//!
//! The engine asks a format only for what its laws cover: leaf levels of its geometry, aligned addresses within the
//! output width, flags that `check_flags` accepted, and words that the format made itself. It calls `invalidate` with
//! the table borrowed, after the stores that the request is about.
//!
//! The values are plain data. They carry units in their types (`Level`, `GuestPhysRange`, `HostPhysAddr`), and every error
//! carries the addresses that caused it.
//!
//! | file | what it holds |
//! |---|---|
//! | `format`, `entry`, `geometry`, `level`, `note` | what a backend provides: entries and notes as bits, numbers per level |
//! | `host`, `frames` | what a host provides: invalidation, frames |
//! | `invalidation` | what the engine asks of the host |
//! | `mapping`, `policy`, `error` | what users see |
//! | `outcome`, `live_error` | what users of a shared reference see |
//!
//! May name: nothing of this crate.

pub(crate) mod entry;
pub(crate) mod error;
pub(crate) mod format;
pub(crate) mod frames;
pub(crate) mod geometry;
pub(crate) mod host;
pub(crate) mod invalidation;
pub(crate) mod level;
pub(crate) mod live_error;
pub(crate) mod mapping;
pub(crate) mod note;
pub(crate) mod outcome;
pub(crate) mod policy;
