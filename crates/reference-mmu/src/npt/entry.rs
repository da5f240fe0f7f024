//! The long-mode page-translation-table entry, as a nested walk reads it.

use core::fmt;

use guest_addr::HostPhysAddr;

use super::config::Npt;
use super::fault::Why;
use crate::access::Permissions;
use crate::bits::{bit, field, mask};
use crate::regions::{Entry, Table, Tables};
use crate::walk::{MemoryKind, Translation};

// 5.4.1 "Field Definitions": P 0, R/W 1, U/S 2, PWT 3, PCD 4, A 5, D 6, PS 7 (PAT 7 in a PTE), G 8, AVL 11:9, PAT 12
// in a PDE or PDPE that maps a page, address 51:12, available 62:52, NX 63.
const PRESENT: u32 = 0;
const WRITE: u32 = 1;
const USER: u32 = 2;
pub(super) const ACCESSED: u32 = 5;
pub(super) const DIRTY: u32 = 6;
const PAGE_SIZE: u32 = 7;
const NO_EXECUTE: u32 = 63;

/// The memory type of a leaf (7.8). The guest's PAT is combined with it (15.25.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// PAT, PCD and PWT as a number from 0 to 7.
    pub pat_index: u8,
    /// What the host's PAT has there: 0 UC, 1 WC, 4 WT, 5 WP, 6 WB, 7 UC-.
    pub memory_type: u8,
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.memory_type {
            0 => "UC",
            1 => "WC",
            4 => "WT",
            5 => "WP",
            6 => "WB",
            7 => "UC-",
            _ => "reserved",
        };
        write!(f, "type {name}, PAT index {}", self.pat_index)
    }
}

/// What the entries of a walk grant together (5.6 "Page-Protection Checks"): a page can be written, or reached by a user, if
/// every entry says so, and executed if none forbids it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    write: bool,
    user: bool,
    execute: bool,
}

impl Granted {
    const ALL: Self = Self {
        write: true,
        user: true,
        execute: true,
    };

    fn and(self, entry: u64) -> Self {
        Self {
            write: self.write && bit(entry, WRITE),
            user: self.user && bit(entry, USER),
            execute: self.execute && !bit(entry, NO_EXECUTE),
        }
    }
}

impl Npt {
    /// The bits that the figures of 5.3.3 to 5.3.5 call "MBZ" or "reserved", those of the address from MAXPHYADDR up
    /// included.
    fn reserved_bits(&self, level: u8, maps_page: bool) -> u64 {
        let address = match u32::from(self.features.max_phys_addr) {
            52 => 0,
            n => mask(51, n),
        };
        let execute = match self.features.no_execute {
            true => 0,
            false => mask(NO_EXECUTE, NO_EXECUTE),
        };
        let low = match (level, maps_page) {
            (5 | 4, _) => mask(8, 7),
            // A processor without 1 GiB pages has no PS bit in a PDPE.
            (3, true) if !self.features.page_1g => mask(PAGE_SIZE, PAGE_SIZE),
            (3, true) => mask(29, 13),
            (2, true) => mask(20, 13),
            _ => 0,
        };
        address | execute | low
    }

    fn leaf(&self, level: u8, entry: u64, granted: Granted) -> Translation<Attributes> {
        let shift = Self::shift(level);
        let pat_bit = if level == 1 { 7 } else { 12 };
        let pat_index = u64::from(bit(entry, pat_bit)) << 2 | field(entry, 4, 3);
        let memory_type = self.pat_type(pat_index);
        Translation {
            address: HostPhysAddr::new(entry & mask(51, shift)),
            page_size: 1 << shift,
            permissions: Permissions {
                read: true,
                write: granted.write,
                execute_user: granted.execute,
                execute_supervisor: granted.execute,
            },
            attributes: Attributes {
                pat_index: pat_index as u8,
                memory_type,
            },
            kind: match memory_type {
                0 => MemoryKind::Uncacheable,
                6 => MemoryKind::WriteBack,
                _ => MemoryKind::Other,
            },
            accessed: Some(bit(entry, ACCESSED)),
            dirty: Some(bit(entry, DIRTY)),
        }
    }
}

impl Tables for Npt {
    type Attributes = Attributes;
    type Why = Why;
    type Inherited = Granted;

    const UNREADABLE: Why = Why::NoMemory;

    fn root(&self) -> Table<Granted> {
        Table {
            address: self.root,
            level: self.levels(),
            index_bits: 9,
            start: 0,
            inherited: Granted::ALL,
        }
    }

    fn shift(level: u8) -> u32 {
        3 + 9 * u32::from(level)
    }

    fn decode(&self, level: u8, entry: u64, inherited: Granted) -> Entry<Attributes, Why, Granted> {
        // With P = 0 all other bits are the software's.
        if !bit(entry, PRESENT) {
            return Entry::Absent;
        }
        let maps_page = level == 1 || (level <= 3 && bit(entry, PAGE_SIZE));
        let bits = entry & self.reserved_bits(level, maps_page);
        if bits != 0 {
            return Entry::Illegal(Why::ReservedBits { bits });
        }
        let granted = inherited.and(entry);
        if !maps_page {
            return Entry::Table {
                address: HostPhysAddr::new(entry & mask(51, 12)),
                level: level - 1,
                inherited: granted,
            };
        }
        // Permissions are judged at the end of the walk, so that a reserved bit below counts first.
        match granted.user {
            true => Entry::Leaf(self.leaf(level, entry, granted)),
            false => Entry::Illegal(Why::NotUser),
        }
    }
}
