//! The memory that a walker reads.

use guest_addr::HostPhysAddr;

/// Host-physical memory as a page walker sees it.
pub trait PhysicalMemory {
    /// The 64-bit little-endian number at `address`, which is a multiple of 8; `None` when there is
    /// no memory, which the walk reports as a fault of its own.
    fn read(&self, address: HostPhysAddr) -> Option<u64>;
}

impl<M: PhysicalMemory + ?Sized> PhysicalMemory for &M {
    fn read(&self, address: HostPhysAddr) -> Option<u64> {
        (**self).read(address)
    }
}
