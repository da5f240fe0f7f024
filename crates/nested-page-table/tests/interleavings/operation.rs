//! What actors do, and what comes of it.

use mapping_flags::MappingFlags;
use nested_page_table::{
    FillOutcome, Level, Mapping, MarkOutcome, RaiseOutcome, SplitError, SplitOutcome,
};

/// One operation. Addresses and sizes are of the guest, `host` is where a leaf leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Fill {
        start: u64,
        size: u64,
        host: u64,
        flags: MappingFlags,
    },
    Raise {
        address: u64,
        permissions: MappingFlags,
    },
    Mark {
        address: u64,
    },
    Split {
        address: u64,
        largest: Level,
    },
    /// A split whose invalidation fails.
    FailingSplit {
        address: u64,
        largest: Level,
    },
    Translate {
        address: u64,
    },
    /// The hardware accesses a page, and sets accessed and dirty bits.
    Touch {
        address: u64,
        write: bool,
    },
    /// A guest accesses a page until it succeeds; its faults are handled by fills of a page with `flags`, and by raises.
    Access {
        address: u64,
        host: u64,
        flags: MappingFlags,
        write: bool,
    },
}

/// A leaf as an operation names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) start: u64,
    pub(crate) size: u64,
    pub(crate) host: u64,
    pub(crate) flags: MappingFlags,
}

impl From<Mapping> for Leaf {
    fn from(mapping: Mapping) -> Self {
        Self {
            start: mapping.guest.start().as_u64(),
            size: mapping.guest.size(),
            host: mapping.host.as_u64(),
            flags: mapping.flags,
        }
    }
}

/// What came of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Filled,
    Present(Leaf),
    Divided,
    Busy,
    Raised(Leaf),
    Unchanged(Leaf),
    Marked(Leaf),
    Split,
    NotInvalidated,
    Absent,
    /// What a walk found.
    Found(Option<Leaf>),
    /// Whether the hardware reached the page.
    Touched(bool),
}

impl From<FillOutcome> for Outcome {
    fn from(outcome: FillOutcome) -> Self {
        match outcome {
            FillOutcome::Filled(_) => Self::Filled,
            FillOutcome::Present(leaf) => Self::Present(leaf.into()),
            FillOutcome::Divided => Self::Divided,
            FillOutcome::Busy => Self::Busy,
        }
    }
}

impl From<RaiseOutcome> for Outcome {
    fn from(outcome: RaiseOutcome) -> Self {
        match outcome {
            RaiseOutcome::Raised { leaf, .. } => Self::Raised(leaf.into()),
            RaiseOutcome::Unchanged(leaf) => Self::Unchanged(leaf.into()),
            RaiseOutcome::Absent => Self::Absent,
            RaiseOutcome::Busy => Self::Busy,
        }
    }
}

impl From<MarkOutcome> for Outcome {
    fn from(outcome: MarkOutcome) -> Self {
        match outcome {
            MarkOutcome::Marked(leaf) => Self::Marked(leaf.into()),
            MarkOutcome::Absent => Self::Absent,
            MarkOutcome::Busy => Self::Busy,
        }
    }
}

impl From<Result<SplitOutcome, SplitError>> for Outcome {
    fn from(outcome: Result<SplitOutcome, SplitError>) -> Self {
        match outcome {
            Ok(SplitOutcome::Split(_)) => Self::Split,
            Ok(SplitOutcome::Unchanged(leaf)) => Self::Unchanged(leaf.into()),
            Ok(SplitOutcome::Absent) => Self::Absent,
            Ok(SplitOutcome::Busy) => Self::Busy,
            Err(SplitError::NotInvalidated(_)) => Self::NotInvalidated,
            Err(error) => panic!("{error}"),
        }
    }
}

/// An operation that took place, from one moment to another.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) actor: usize,
    pub(crate) operation: Operation,
    pub(crate) outcome: Outcome,
    pub(crate) began: usize,
    pub(crate) ended: usize,
}
