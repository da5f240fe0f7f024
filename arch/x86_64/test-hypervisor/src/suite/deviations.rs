//! Where Bochs is known not to do what the manual says.

use test_hypervisor_kit::Deviation;

/// None that a probe meets. What Bochs does otherwise needs tables that are never made: it takes bit 12 of
/// large leaves, which the manual reserves. (SDM 3C, table "Format of an EPT Page-Directory Entry (PDE)
/// that Maps a 2-MByte Page".)
pub(super) static DEVIATIONS: [Deviation; 0] = [];
