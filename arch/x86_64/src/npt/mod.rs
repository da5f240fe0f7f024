//! AMD's nested paging (NPT): tables of 4 and 5 levels, nCR3, and what makes a CPU forget.
//!
//! "APM" in this module is the *AMD64 Architecture Programmer's Manual*, volume 2 unless another is named.
//! Sections are those of revision 3.40. Nested paging is section 15.25.
//!
//! ```
//! use guest_addr::HostPhysAddr;
//! use mapping_flags::MappingFlags;
//! use nested_page_table::{Format, Leaf, Level};
//! use nested_paging_x86_64::npt::{Capabilities, Npt};
//!
//! let machine = Capabilities::new().with_physical_address_bits(48).with_largest_leaf(Level::BLOCK_1G);
//! let format = Npt::new("npt4".parse()?, machine)?;
//! assert_eq!(format.ncr3(HostPhysAddr::new(0x1234_5000)), 0x1234_5000);
//!
//! let leaf = Leaf { address: HostPhysAddr::new(0x4000_0000), flags: MappingFlags::READ_WRITE };
//! // No-execute; page size, dirty, accessed, user, write, present.
//! assert_eq!(format.encode_leaf(Level::BLOCK_1G, leaf), 1 << 63 | 0x4000_00e7);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # What the host has to do
//!
//! - **The paging mode is the host's.** The hardware walks the nested tables in the mode that the host's CR4 and
//!   EFER select at VMRUN: 4 levels, or 5 if CR4.LA57 is 1. (15.25.3) `npt4` and `npt5` must match it.
//! - **EFER.NXE of the host is 1** at VMRUN. Otherwise bit 63 is reserved, and each access to a leaf without
//!   `EXECUTE` faults. (15.25.7)
//! - **GMET and supervisor shadow stacks are off** (VMCB offset 90h, bits 3 and 4). They give U/S another meaning.
//!   (15.25.13, 15.25.14)
//! - **Tables are plain memory.** An entry has no C-bit, so under SME the host writes table frames through mappings
//!   without the C-bit too. (7.10) Guest memory is not encrypted by these tables.
//! - **The guest's own page tables are in memory with `WRITE`.** The hardware treats each access to a guest page
//!   table as a write, even if it sets no bit there. (15.25.5) A guest that keeps page tables in read-only memory
//!   faults.
//!
//! # Flags
//!
//! | flag | in a leaf |
//! |---|---|
//! | `READ` | always: whatever is present can be read. `EXECUTE` alone is refused |
//! | `WRITE` | bit 1 |
//! | `EXECUTE` | bit 63 (NX) is 0 |
//! | `USER` | bit 52, software |
//! | neither `UNCACHED` nor `DEVICE` | entry 0 of the host's PAT, which must be WB |
//! | `UNCACHED` | the entry of the host's PAT for UC-, or else for WC |
//! | `DEVICE` | the entry of the host's PAT for UC |
//!
//! | software bit | in a leaf | in an entry that points to a table |
//! |---|---|---|
//! | 52 | `USER` | zero |
//! | 53, 54 | `DEVICE`, `UNCACHED` once more, which is faster to read than the PAT index | zero |
//! | 11:9, 58:55 | zero | zero |
//!
//! # Memory types
//!
//! PWT, PCD and PAT of a nested leaf choose an entry of the **host's** PAT. The processor combines that type with the
//! type that the guest chooses by its own tables and the gPAT of its VMCB. (15.25.8, "Combining Guest and Host PAT
//! Types") EPT's ignore-PAT has no counterpart. So the guest can still weaken what the table says:
//!
//! | the leaf | the guest chooses | result |
//! |---|---|---|
//! | `DEVICE` (UC), `UNCACHED` (UC-) | WC | WC: the guest's stores may merge and move |
//! | `DEVICE`, `UNCACHED` | anything else | uncached: UC, or CD, which also snoops caches |
//! | write-back | any type | the guest's type |
//!
//! So no choice of the guest makes `DEVICE` or `UNCACHED` memory cached. But a guest can map a device write-combining,
//! which only that guest's driver suffers from. If that is a danger to the device, emulate the device instead. `DEVICE`
//! and `UNCACHED` differ in the host's part: an MTRR of type WC turns UC- into WC, and leaves UC alone. ("Combining
//! PAT and MTRR Types")
//!
//! # Accessed and dirty
//!
//! NPT has no switch for A and D: the hardware always sets them. Without
//! [tracking](Capabilities::with_accessed_dirty_tracking) they are preset, so that it never has to. Entries that
//! point to tables always have A preset.
//!
//! # Invalidation
//!
//! The TLB holds translations of guest-*linear* addresses, tagged by the ASID of the VMCB. (15.16) No instruction
//! invalidates a guest-*physical* address. After a change that takes something away, the whole ASID has to go: the
//! hypervisor writes TLB_CONTROL in the VMCB, and the next VMRUN flushes. (15.16.1) For one request:
//!
//! 1. [`Npt::tlb_control`] says which flush the request needs, or none.
//! 2. On each CPU that ever ran the guest's ASID, remember the flush. [`TlbControl::and`] joins it to one that is
//!    still pending there.
//! 3. Make each CPU leave the guest. The request is complete when all have left: nothing uses the ASID outside of it.
//! 4. Before its next VMRUN with the ASID, each CPU writes the pending value to TLB_CONTROL. Afterwards it writes
//!    [`TlbControl::Nothing`]: the hardware does not clear the field.
//!
//! A new ASID, which this CPU did not use since its last full flush, serves as well.
//!
//! **One ASID, one vCPU at a time on each CPU.** Two vCPUs of one VM may have different page tables at the same linear
//! address, and the ASID does not tell them apart. If a CPU runs two vCPUs with one ASID, flush when it switches
//! between them; or give each vCPU an ASID of its own. The VMID of a table is the ASID where all vCPUs share it;
//! nothing else depends on it, since nCR3 does not contain it. ASID 0 is the host's, and VMRUN refuses it.
//!
//! 15.16.1 asks for a flush where permissions are taken away, present bits are cleared, or addresses change: fresh
//! mappings and added permissions need none. A CPU that faults by an older translation all the same is served by a
//! local request, which the table makes for a spurious fault.

mod bits;
mod capabilities;
mod format;
mod mode;
mod pat;
mod registers;
mod tlb;

pub use capabilities::Capabilities;
pub use format::Npt;
pub use mode::{Mode, ModeError, UnknownMode};
pub use pat::Pat;
pub use registers::Registers;
pub use tlb::{Invlpga, TlbControl};

pub(crate) use bits::{ACCESSED, DIRTY, LARGE, NO_EXECUTE, PERMISSIONS, PRESENT, USER};
