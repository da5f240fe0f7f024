//! The EPT paging-structure entry.

use core::fmt;

use guest_addr::HostPhysAddr;

use super::config::Ept;
use super::fault::{Misconfiguration, Why};
use crate::access::Permissions;
use crate::bits::{bit, field, mask};
use crate::regions::{Entry, Table, Tables};
use crate::walk::{MemoryKind, Translation};

// The tables "Format of an EPT ... Entry": read 0, write 1, execute 2 (under mode-based execute
// control: in supervisor mode), memory type 5:3, ignore PAT 6, page 7, accessed 8, dirty 9, execute
// in user mode 10, address 51:12, suppress #VE 63.
pub(super) const READ: u32 = 0;
pub(super) const WRITE: u32 = 1;
pub(super) const EXECUTE: u32 = 2;
const PAGE: u32 = 7;
pub(super) const ACCESSED: u32 = 8;
pub(super) const DIRTY: u32 = 9;
pub(super) const EXECUTE_USER: u32 = 10;
pub(super) const SUPPRESS_VE: u32 = 63;

/// The memory type of a leaf ("EPT and Memory Typing").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Bits 5:3: 0 UC, 1 WC, 4 WT, 5 WP, 6 WB.
    pub memory_type: u8,
    /// Bit 6: the guest's PAT has no say.
    pub ignore_pat: bool,
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.memory_type {
            0 => "UC",
            1 => "WC",
            4 => "WT",
            5 => "WP",
            6 => "WB",
            _ => "reserved",
        };
        let pat = if self.ignore_pat { ", PAT ignored" } else { "" };
        write!(f, "type {name}{pat}")
    }
}

impl Ept {
    /// The bits that say whether an entry is present.
    pub(super) fn access_bits(&self) -> u64 {
        let user = if self.features.mode_based_execute {
            mask(EXECUTE_USER, EXECUTE_USER)
        } else {
            0
        };
        mask(EXECUTE, READ) | user
    }

    /// The rules of "EPT Misconfigurations" that hold for every present entry.
    fn check_access_bits(&self, entry: u64) -> Result<(), Misconfiguration> {
        if bit(entry, READ) {
            return Ok(());
        }
        if bit(entry, WRITE) {
            return Err(Misconfiguration::WriteWithoutRead);
        }
        match self.features.execute_only {
            true => Ok(()),
            false => Err(Misconfiguration::ExecuteOnly),
        }
    }

    /// The bits that the format tables reserve, bits 51:N included.
    fn reserved_bits(&self, level: u8, maps_page: bool) -> u64 {
        let address = match u32::from(self.features.max_phys_addr) {
            52 => 0,
            n => mask(51, n),
        };
        let features = &self.features;
        let low = match (level, maps_page) {
            (5 | 4, _) => mask(7, 3),
            // Bit 7 is reserved where the processor cannot map a page of that size.
            (3, true) if !features.page_1g => mask(PAGE, PAGE),
            (2, true) if !features.page_2m => mask(PAGE, PAGE),
            (3, true) => mask(29, 12),
            (2, true) => mask(20, 12),
            (_, true) => 0,
            (_, false) => mask(6, 3),
        };
        address | low
    }

    fn leaf(&self, level: u8, entry: u64, granted: u64) -> Translation<Attributes> {
        let shift = Self::shift(level);
        let memory_type = field(entry, 5, 3);
        let execute = bit(granted, EXECUTE);
        let tracked = self.accessed_dirty;
        Translation {
            address: HostPhysAddr::new(entry & mask(51, shift)),
            page_size: 1 << shift,
            permissions: Permissions {
                read: bit(granted, READ),
                write: bit(granted, WRITE),
                execute_user: match self.features.mode_based_execute {
                    true => bit(granted, EXECUTE_USER),
                    false => execute,
                },
                execute_supervisor: execute,
            },
            attributes: Attributes {
                memory_type: memory_type as u8,
                ignore_pat: bit(entry, 6),
            },
            kind: match memory_type {
                0 => MemoryKind::Uncacheable,
                6 => MemoryKind::WriteBack,
                _ => MemoryKind::Other,
            },
            accessed: tracked.then(|| bit(entry, ACCESSED)),
            dirty: tracked.then(|| bit(entry, DIRTY)),
        }
    }
}

impl Tables for Ept {
    type Attributes = Attributes;
    type Why = Why;
    /// The AND of the access bits of the entries above.
    type Inherited = u64;

    const UNREADABLE: Why = Why::NoMemory;

    fn root(&self) -> Table<u64> {
        Table {
            address: self.root,
            level: self.levels,
            index_bits: 9,
            start: 0,
            inherited: self.access_bits(),
        }
    }

    fn shift(level: u8) -> u32 {
        3 + 9 * u32::from(level)
    }

    fn decode(&self, level: u8, entry: u64, inherited: u64) -> Entry<Attributes, Why, u64> {
        if entry & self.access_bits() == 0 {
            return Entry::Absent;
        }
        let illegal = |rule| Entry::Illegal(Why::Misconfiguration(rule));
        if let Err(rule) = self.check_access_bits(entry) {
            return illegal(rule);
        }
        let maps_page = level == 1 || (level <= 3 && bit(entry, PAGE));
        let bits = entry & self.reserved_bits(level, maps_page);
        if bits != 0 {
            return illegal(Misconfiguration::ReservedBits { bits });
        }
        let granted = inherited & entry;
        if !maps_page {
            return Entry::Table {
                address: HostPhysAddr::new(entry & mask(51, 12)),
                level: level - 1,
                inherited: granted,
            };
        }
        let leaf = self.leaf(level, entry, granted);
        match leaf.attributes.memory_type {
            memory_type @ (2 | 3 | 7) => illegal(Misconfiguration::MemoryType { memory_type }),
            _ => Entry::Leaf(leaf),
        }
    }
}
