//! One machine with one mode and one set of capabilities, behind a trait without types.

use core::ops::ControlFlow;
use std::sync::Arc;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::{FlagsError, MappingFlags};
use nested_page_table::{
    Due, Edit, Entry, FillError, FillOutcome, Format, Geometry, InvalidationFailed, LeafPolicy,
    Level, MapError, Mapping, MarkOutcome, NestedPageTable, ProtectError, RaiseError, RaiseOutcome,
    SplitError, SplitOutcome, Statistics, UnmapError, UnmappedLeaf, Unsettled, UpdateRules,
};
use simulated_host::SimulatedHost;

use crate::reference::Enumerate;

/// A machine to test on.
pub(crate) struct Variant {
    pub(crate) geometry: Geometry,
    pub(crate) policy: LeafPolicy,
    /// What an absent entry contains.
    pub(crate) absent: u64,
    pub(crate) rules: UpdateRules,
    pub(crate) decode: Arc<dyn Fn(Level, u64) -> Entry + Send + Sync>,
    pub(crate) check_flags: Box<dyn Fn(MappingFlags) -> Result<(), FlagsError>>,
    pub(crate) host: &'static SimulatedHost,
    pub(crate) reference: Box<dyn Enumerate>,
    pub(crate) new_table: Box<dyn Fn(&'static SimulatedHost) -> Option<Box<dyn Table>>>,
    /// The host was leaked to outlive the table; this gives it back.
    pub(crate) owner: HostOwner,
}

/// Gives a leaked host back when the case is over.
pub(crate) struct HostOwner(Option<Box<dyn FnOnce()>>);

impl HostOwner {
    pub(crate) fn new(free: impl FnOnce() + 'static) -> Self {
        Self(Some(Box::new(free)))
    }
}

impl Drop for HostOwner {
    fn drop(&mut self) {
        if let Some(free) = self.0.take() {
            free();
        }
    }
}

/// The operations of a table.
pub(crate) trait Operations {
    fn map(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<(), MapError>;
    fn unmap(&mut self, guest: GuestPhysRange) -> Result<(), UnmapError>;
    fn unmap_reporting(
        &mut self,
        guest: GuestPhysRange,
        report: &mut dyn FnMut(UnmappedLeaf),
    ) -> Result<(), UnmapError>;
    fn protect(&mut self, guest: GuestPhysRange, flags: MappingFlags) -> Result<(), ProtectError>;
    fn try_reclaim_empty(&mut self) -> Result<(), Unsettled>;
}

/// The operations that take a shared reference.
pub(crate) trait Shared: Sync {
    fn fill(
        &self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<FillOutcome, FillError>;
    fn raise(
        &self,
        address: GuestPhysAddr,
        permissions: MappingFlags,
    ) -> Result<RaiseOutcome, RaiseError>;
    fn mark_accessed(&self, address: GuestPhysAddr) -> MarkOutcome;
    fn split(&self, address: GuestPhysAddr, largest: Level) -> Result<SplitOutcome, SplitError>;
    fn invalidate_due(&self, due: Due) -> Result<(), InvalidationFailed>;
    fn due_after_spurious_fault(&self, leaf: &Mapping) -> Due;
    /// [`NestedPageTable::translate`].
    fn find(&self, address: GuestPhysAddr) -> Option<Mapping>;
}

impl<F: Format> Shared for NestedPageTable<F, &'static SimulatedHost> {
    fn fill(
        &self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<FillOutcome, FillError> {
        NestedPageTable::fill(self, guest, host, flags)
    }

    fn raise(
        &self,
        address: GuestPhysAddr,
        permissions: MappingFlags,
    ) -> Result<RaiseOutcome, RaiseError> {
        NestedPageTable::raise(self, address, permissions)
    }

    fn mark_accessed(&self, address: GuestPhysAddr) -> MarkOutcome {
        NestedPageTable::mark_accessed(self, address)
    }

    fn split(&self, address: GuestPhysAddr, largest: Level) -> Result<SplitOutcome, SplitError> {
        NestedPageTable::split(self, address, largest)
    }

    fn invalidate_due(&self, due: Due) -> Result<(), InvalidationFailed> {
        NestedPageTable::invalidate_due(self, due)
    }

    fn due_after_spurious_fault(&self, leaf: &Mapping) -> Due {
        NestedPageTable::due_after_spurious_fault(self, leaf)
    }

    fn find(&self, address: GuestPhysAddr) -> Option<Mapping> {
        NestedPageTable::translate(self, address)
    }
}

/// A table whose format is forgotten.
pub(crate) trait Table: Shared {
    fn try_edit(
        &mut self,
        work: &mut dyn FnMut(&mut dyn Operations),
    ) -> Result<(), InvalidationFailed>;
    fn edit(&mut self, work: &mut dyn FnMut(&mut dyn Operations)) {
        self.try_edit(work).unwrap();
    }
    /// The same with an edit that is leaked instead of finished.
    fn leaked_edit(&mut self, work: &mut dyn FnMut(&mut dyn Operations));
    /// The same operations, each an edit of its own.
    fn direct(&mut self) -> &mut dyn Operations;
    fn mappings(&self) -> Vec<Mapping>;
    /// What a visitor is shown that breaks off at the leaf number `count`.
    fn first_mappings(&self, count: usize) -> Vec<Mapping>;
    fn translate(&self, address: GuestPhysAddr) -> Option<Mapping>;
    fn root(&self) -> HostPhysAddr;
    fn statistics(&self) -> Statistics;
    fn root_register(&self) -> u64;
    /// What each table below the root translates.
    fn tables(&self) -> Vec<GuestPhysRange>;
}

/// Both have methods of these names.
macro_rules! operations {
    ($table:ty, |$this:ident| $reclaim:expr) => {
        impl<F: Format> Operations for $table {
            fn map(
                &mut self,
                guest: GuestPhysRange,
                host: HostPhysAddr,
                flags: MappingFlags,
            ) -> Result<(), MapError> {
                <$table>::map(self, guest, host, flags)
            }

            fn unmap(&mut self, guest: GuestPhysRange) -> Result<(), UnmapError> {
                <$table>::unmap(self, guest)
            }

            fn unmap_reporting(
                &mut self,
                guest: GuestPhysRange,
                report: &mut dyn FnMut(UnmappedLeaf),
            ) -> Result<(), UnmapError> {
                <$table>::unmap_reporting(self, guest, report)
            }

            fn protect(
                &mut self,
                guest: GuestPhysRange,
                flags: MappingFlags,
            ) -> Result<(), ProtectError> {
                <$table>::protect(self, guest, flags)
            }

            fn try_reclaim_empty(&mut self) -> Result<(), Unsettled> {
                let $this = self;
                $reclaim
            }
        }
    };
}

operations!(Edit<'_, F, &'static SimulatedHost>, |edit| {
    Edit::reclaim_empty(edit)
});
operations!(NestedPageTable<F, &'static SimulatedHost>, |table| {
    NestedPageTable::edit(table).reclaim_empty()
});

impl<F: Format> Table for NestedPageTable<F, &'static SimulatedHost> {
    fn try_edit(
        &mut self,
        work: &mut dyn FnMut(&mut dyn Operations),
    ) -> Result<(), InvalidationFailed> {
        let mut edit = NestedPageTable::edit(self);
        work(&mut edit);
        edit.finish()
    }

    fn leaked_edit(&mut self, work: &mut dyn FnMut(&mut dyn Operations)) {
        let mut edit = NestedPageTable::edit(self);
        work(&mut edit);
        core::mem::forget(edit);
    }

    fn direct(&mut self) -> &mut dyn Operations {
        self
    }

    fn mappings(&self) -> Vec<Mapping> {
        let last = self.geometry().last_guest();
        let mut mappings = Vec::new();
        self.visit(
            GuestPhysRange::from_start_last(Default::default(), last).unwrap(),
            |mapping| {
                mappings.push(mapping);
            },
        );
        // A range that has one byte of each of two neighbours.
        for pair in mappings.windows(2).take(8) {
            let [first, second] = pair else { continue };
            let (start, last) = (first.guest.last(), second.guest.start());
            let mut shown = Vec::new();
            self.visit(
                GuestPhysRange::from_start_last(start, last).unwrap(),
                |mapping| shown.push(mapping),
            );
            assert_eq!(shown, pair);
        }
        mappings
    }

    fn first_mappings(&self, count: usize) -> Vec<Mapping> {
        let last = self.geometry().last_guest();
        let everything = GuestPhysRange::from_start_last(Default::default(), last).unwrap();
        let mut mappings = Vec::new();
        let _ = self.visit_entries(everything, |visited| {
            mappings.extend(visited.mapping());
            match mappings.len() == count {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        mappings
    }

    fn translate(&self, address: GuestPhysAddr) -> Option<Mapping> {
        let mapping = NestedPageTable::translate(self, address);
        let host = mapping.and_then(|mapping| mapping.host_of(address));
        assert_eq!(self.host_of(address), host, "{address}");
        mapping
    }

    fn statistics(&self) -> Statistics {
        NestedPageTable::statistics(self)
    }

    fn root(&self) -> HostPhysAddr {
        NestedPageTable::root(self)
    }

    fn root_register(&self) -> u64 {
        self.space().root_register
    }

    fn tables(&self) -> Vec<GuestPhysRange> {
        let everything =
            GuestPhysRange::from_start_last(Default::default(), self.geometry().last_guest());
        let mut tables = Vec::new();
        let _: ControlFlow<()> = self.visit_entries(everything.unwrap(), |visited| {
            if matches!(visited.entry, Entry::Table(_)) {
                tables.push(visited.guest);
            }
            ControlFlow::Continue(())
        });
        tables
    }
}
