//! The pointer that selects the table. (SDM 3C, "Extended-Page-Table Pointer (EPTP)", table "Format
//! of Extended-Page-Table Pointer".)

use guest_addr::HostPhysAddr;

use crate::bits::TYPE_WB;
use crate::format::Ept;

/// Bits 5:3: the page-walk length less one. Bits 2:0 are the memory type of the tables.
const WALK_LENGTH_SHIFT: u32 = 3;
/// Bit 6: the hardware sets accessed and dirty bits.
const ACCESSED_DIRTY: u64 = 1 << 6;
// Bit 7, supervisor shadow stacks, and bits 11:8 are zero.

impl Ept {
    /// The EPTP that makes `root`, a whole frame, the table of a virtual machine. Only the bits of
    /// `root` below the physical address width are used.
    ///
    /// Cached translations are tagged by the root's address alone: a frame that was another virtual
    /// machine's root needs an INVEPT on every CPU that used it.
    #[inline]
    #[must_use]
    pub fn eptp(&self, root: HostPhysAddr) -> u64 {
        let accessed_dirty = match self.capabilities().accessed_dirty_tracking() {
            true => ACCESSED_DIRTY,
            false => 0,
        };
        let walk_length = self.mode().walk_length_field() << WALK_LENGTH_SHIFT;
        root.as_u64() & self.address | accessed_dirty | walk_length | TYPE_WB
    }
}
