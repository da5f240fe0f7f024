//! Notes in absent entries, where no speculation can follow them.
//!
//! A processor with L1TF (CVE-2018-3646) takes bits 51:12 of an absent entry for an address, of which it uses as
//! many bits as its caches have: at least 44 since Nehalem, the first processor with EPT, and MAXPHYADDR
//! otherwise. What lies there and is in the L1 data cache can be measured by the guest. (Intel, "Deep Dive: L1
//! Terminal Fault"; Linux, `arch/x86/kernel/cpu/bugs.c`, `override_cache_bits`.)
//!
//! Linux inverts the address of such an entry (`arch/x86/include/asm/pgtable-invert.h`), so that what lies in the
//! lower half of the physical address space leads to the upper half. That protects machines with memory in the
//! lower half alone. Here bits 51:37 of the word are 1, whatever the address: the word leads to the last 128 GiB
//! that physical addresses can name, on processors of any width. The address bits that they displace stand outside
//! of the address field, as KVM does it too (`arch/x86/kvm/mmu/spte.c`, `shadow_nonpresent_or_rsvd_mask`). A
//! machine is protected unless it has memory in these last 128 GiB.
//!
//! An absent entry without a note leads to the host page at 0, where nothing secret should be kept: Linux keeps
//! that page free for the same reason.
//!
//! | bits of the word | of the note |
//! |---|---|
//! | 2:0, 10 | zero: the entry is absent, with mode-based execute control too |
//! | 3 | one: this is a note |
//! | 4 | the note is of a table |
//! | 5, 11 | the leaf was accessed, and dirty |
//! | 9:6 | bits 40:37 of the address |
//! | 36:12 | bits 36:12 of the address |
//! | 51:37 | ones |
//! | 62:52 | bits 51:41 of the address |
//! | 63 | as in every absent entry: suppress #VE |

use guest_addr::HostPhysAddr;
use nested_page_table::Note;

use crate::bits::{ACCESS, EXECUTE_USER};

const NOTE: u64 = 1 << 3;
const TABLE: u64 = 1 << 4;
const WAS_ACCESSED: u64 = 1 << 5;
const WAS_DIRTY: u64 = 1 << 11;

/// Bits 36:12 of an address, which stay where they are.
const LOW: u64 = (1 << 37) - (1 << 12);
/// Bits 40:37 of an address.
const MIDDLE: u64 = (1 << 41) - (1 << 37);
/// From bits 40:37 to bits 9:6.
const MIDDLE_DOWN: u32 = 31;
/// Bits 51:41 of an address.
const HIGH: u64 = (1 << 52) - (1 << 41);
/// From bits 51:41 to bits 62:52.
const HIGH_UP: u32 = 11;
/// Bits 51:37 of the word.
const NOWHERE: u64 = MIDDLE | HIGH;

/// Where the bits of an address stand in the word of a note. Compiled once, since it is code that counts and not time.
#[inline(never)]
const fn displace(address: u64) -> u64 {
    let displaced = (address & MIDDLE) >> MIDDLE_DOWN | (address & HIGH) << HIGH_UP;
    // What the ones cover is displaced, and nothing else stands beside bits 36:12.
    address | NOWHERE | displaced
}

/// The address in the word of a note. Compiled once, as [`displace`] is.
#[inline(never)]
const fn restore(bits: u64) -> u64 {
    let displaced = bits << MIDDLE_DOWN & MIDDLE | bits >> HIGH_UP & HIGH;
    bits & LOW | displaced
}

/// The word of a note, where `absent` is the word of an entry without one.
#[inline]
pub(crate) const fn encode(note: Note, absent: u64) -> u64 {
    let (address, kind) = match note {
        Note::Table(address) => (address, TABLE),
        Note::Leaf {
            address,
            accessed,
            dirty,
        } => {
            let accessed = if accessed { WAS_ACCESSED } else { 0 };
            let dirty = if dirty { WAS_DIRTY } else { 0 };
            (address, accessed | dirty)
        }
    };
    absent | NOTE | kind | displace(address.as_u64())
}

/// The note in an entry of this format, or `None` if there is none.
#[inline]
pub(crate) const fn decode(bits: u64) -> Option<Note> {
    // Of an entry that is present, bit 3 is of the memory type.
    if bits & (ACCESS | EXECUTE_USER | NOTE) != NOTE {
        return None;
    }
    let address = HostPhysAddr::new(restore(bits));
    if bits & TABLE != 0 {
        return Some(Note::Table(address));
    }
    Some(Note::Leaf {
        address,
        accessed: bits & WAS_ACCESSED != 0,
        dirty: bits & WAS_DIRTY != 0,
    })
}
