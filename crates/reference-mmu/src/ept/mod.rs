//! Intel's extended page tables, with 4 and 5 levels.
//!
//! Sources, all in the *Intel 64 and IA-32 Architectures Software Developer's Manual*, volume 3C
//! (order number 326019), by section title, since chapter numbers differ by edition: chapter "VMX
//! Support for Address Translation", sections "EPT Translation Mechanism", "EPT Misconfigurations",
//! "EPT Violations", "Prioritization of EPT Misconfigurations and EPT Violations", "Accessed and Dirty
//! Flags for EPT", "EPT and Memory Typing", and the tables "Format of an EPT ... Entry"; chapter
//! "Virtual Machine Control Structures", section "Extended-Page-Table Pointer (EPTP)"; chapter "VM
//! Entries", section "VM-Execution Control Fields"; chapter "VM Exits", table "Exit Qualification
//! for EPT Violations".
//!
//! Levels are numbered from the page table up: PTE 1, PDE 2, PDPTE 3, PML4E 4, PML5E 5.
//!
//! "Convertible EPT Violations" is of chapter "VMX Non-Root Operation".
//!
//! The VM-execution controls for page-modification logging, sub-page write
//! permissions, guest-paging verification, EPT paging-write and supervisor shadow stacks are taken
//! to be 0.

mod config;
mod entry;
mod fault;
mod walk;

pub use config::{ConfigError, Ept, Features};
pub use entry::Attributes;
pub use fault::{Fault, Misconfiguration, Why};
