//! The enumeration of everything that the tables map.

use core::ops::ControlFlow;

use guest_addr::{GuestPhysAddr, HostPhysAddr};

use crate::memory::PhysicalMemory;
use crate::walk::Translation;

/// What one entry makes of the guest-physical addresses that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region<A, W> {
    /// The first guest-physical address that the entry covers.
    pub start: GuestPhysAddr,
    /// How many bytes the entry covers. Smaller than the page size in a NAPOT range, where sixteen
    /// entries map one page together.
    pub size: u64,
    /// The level of the table, as the architecture numbers it.
    pub level: u8,
    /// The host address of the entry.
    pub entry: HostPhysAddr,
    /// The entry, or `None` when there is no memory at its address.
    pub value: Option<u64>,
    /// The translation of the first byte, or why the entry faults for every access.
    pub outcome: Result<Translation<A>, W>,
}

/// An entry in neutral terms.
pub(crate) enum Entry<A, W, I> {
    /// Says that nothing is there.
    Absent,
    /// Faults for every access.
    Illegal(W),
    /// Points to a table of `level`.
    Table {
        address: HostPhysAddr,
        level: u8,
        inherited: I,
    },
    /// Maps the page that holds the translation's address.
    Leaf(Translation<A>),
}

/// One table and the guest-physical addresses that it covers.
pub(crate) struct Table<I> {
    pub(crate) address: HostPhysAddr,
    pub(crate) level: u8,
    pub(crate) index_bits: u32,
    pub(crate) start: u64,
    /// What the levels above leave behind: on x86 their permissions.
    pub(crate) inherited: I,
}

/// The numbers and the decoder that the enumeration needs of an architecture.
pub(crate) trait Tables {
    type Attributes;
    type Why;
    type Inherited: Copy;

    /// Why an entry faults that cannot be read.
    const UNREADABLE: Self::Why;

    fn root(&self) -> Table<Self::Inherited>;

    /// The binary logarithm of the bytes that one entry of `level` covers.
    fn shift(level: u8) -> u32;

    /// Never a table at the lowest level.
    fn decode(
        &self,
        level: u8,
        value: u64,
        inherited: Self::Inherited,
    ) -> Entry<Self::Attributes, Self::Why, Self::Inherited>;
}

/// Visits `table` and everything below it in ascending order.
pub(crate) fn visit_table<T, M, B, V>(
    tables: &T,
    memory: &M,
    table: &Table<T::Inherited>,
    visit: &mut V,
) -> ControlFlow<B>
where
    T: Tables,
    M: PhysicalMemory + ?Sized,
    V: FnMut(Region<T::Attributes, T::Why>) -> ControlFlow<B>,
{
    for index in 0..1_u64 << table.index_bits {
        visit_entry(tables, memory, table, index, visit)?;
    }
    ControlFlow::Continue(())
}

fn visit_entry<T, M, B, V>(
    tables: &T,
    memory: &M,
    table: &Table<T::Inherited>,
    index: u64,
    visit: &mut V,
) -> ControlFlow<B>
where
    T: Tables,
    M: PhysicalMemory + ?Sized,
    V: FnMut(Region<T::Attributes, T::Why>) -> ControlFlow<B>,
{
    let start = table.start | index << T::shift(table.level);
    let entry = entry_address(table.address, index);
    let value = memory.read(entry);
    let decoded = value.map_or(Entry::Illegal(T::UNREADABLE), |value| {
        tables.decode(table.level, value, table.inherited)
    });
    let outcome = match decoded {
        Entry::Absent => return ControlFlow::Continue(()),
        Entry::Illegal(why) => Err(why),
        Entry::Leaf(translation) => Ok(translation.at(GuestPhysAddr::new(start))),
        Entry::Table {
            address,
            level,
            inherited,
        } => {
            let below = Table {
                address,
                level,
                index_bits: 9,
                start,
                inherited,
            };
            return visit_table(tables, memory, &below, visit);
        }
    };
    visit(Region {
        start: GuestPhysAddr::new(start),
        size: 1 << T::shift(table.level),
        level: table.level,
        entry,
        value,
        outcome,
    })
}

/// The address of entry `index`. Tables are aligned to their size, so that no carry can arise.
pub(crate) fn entry_address(table: HostPhysAddr, index: u64) -> HostPhysAddr {
    HostPhysAddr::new(table.as_u64() | index << 3)
}
