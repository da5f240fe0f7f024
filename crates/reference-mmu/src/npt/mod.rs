//! AMD's nested page tables, with 4 and 5 levels.
//!
//! Sources, all in the *AMD64 Architecture Programmer's Manual, Volume 2: System Programming* (publication
//! 24593), revision 3.42, by section: 5.3 "Long-Mode Page Translation", 5.4 "Page-Translation-Table Entry Fields",
//! 7.8 "Page-Attribute Table Mechanism", 8.4.2 "Page-Fault Error Code", 15.25 "Nested Paging", with 15.25.3 "Enabling Nested Paging",
//! 15.25.5 "Nested Table Walk", 15.25.6 "Nested versus Guest Page Faults, Fault Ordering", 15.25.7 "Combining
//! Nested and Guest Attributes" and 15.25.8 "Combining Memory Types, MTRRs"; appendix B for the VMCB.
//!
//! Nested tables are long-mode tables of the host: its CR4.LA57 and EFER.NXE at VMRUN decide how they are read.
//! Every access of the guest is a user access to them.
//!
//! Levels are numbered from the page table up: PTE 1, PDE 2, PDPE 3, PML4E 4, PML5E 5.
//!
//! The host's CR4.PKE, guest-mode execute trap, supervisor shadow stack checks, and memory encryption are taken to
//! be off. The global bit has no meaning in a nested table.

mod config;
mod entry;
mod fault;
mod walk;

pub use config::{ConfigError, Features, Npt};
pub use entry::Attributes;
pub use fault::{Fault, Why};
