//! What an entry of a table says, in terms that every architecture shares.

use guest_addr::HostPhysAddr;
use mapping_flags::MappingFlags;

/// A decoded table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The hardware finds nothing here.
    Absent,
    /// The next table down, by the host-physical address of its first entry.
    Table(HostPhysAddr),
    /// A page or block.
    Leaf(Leaf),
}

/// The contents of a leaf entry. Its size follows from the level it stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The host-physical address of the leaf's first byte.
    pub address: HostPhysAddr,
    /// What the guest may do, and the memory type.
    pub flags: MappingFlags,
}
