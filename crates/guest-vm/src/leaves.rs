//! Leaves of the table, a few at a time, so that callbacks run without the lock.

use core::ops::ControlFlow;

use guest_addr::GuestPhysRange;
use nested_page_table::{Format, Mapping};

use crate::address_space::{AddressSpace, rest_after};
use crate::hal::VmHal;

/// How many leaves are copied with the lock held: one kilobyte or two on the stack.
const BATCH: usize = 32;

/// Some leaves, in order.
pub(crate) struct Leaves {
    leaves: [Option<Mapping>; BATCH],
    /// What was not looked at.
    pub(crate) rest: Option<GuestPhysRange>,
}

impl Leaves {
    pub(crate) fn iter(&self) -> impl Iterator<Item = Mapping> {
        self.leaves.iter().map_while(|leaf| *leaf)
    }
}

impl<F: Format, H: VmHal> AddressSpace<F, H> {
    /// The first leaves that have a byte in `range`.
    pub(crate) fn leaves(&self, range: GuestPhysRange) -> Leaves {
        let mut leaves = [None; BATCH];
        let mut free = leaves.iter_mut();
        let mut rest = Some(range);
        let visited = self.table.visit_entries(range, |entry| {
            let Some(leaf) = entry.mapping() else {
                return ControlFlow::Continue(());
            };
            let Some(place) = free.next() else {
                return ControlFlow::Break(());
            };
            *place = Some(leaf);
            rest = rest.and_then(|rest| rest_after(&rest, &leaf.guest));
            ControlFlow::Continue(())
        });
        if visited.is_continue() {
            rest = None;
        }
        Leaves { leaves, rest }
    }
}
