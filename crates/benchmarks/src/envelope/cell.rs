//! One cell of the envelope: a point in every dimension.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Operation {
    /// Map.
    Map,
    /// Unmap.
    Unmap,
    /// Unmap, and say what was there.
    UnmapReporting,
    /// Take permissions away.
    ProtectLess,
    /// Give permissions.
    ProtectMore,
    /// Translate one address: target, permissions and leaf size.
    Translate,
    /// Show every leaf.
    Visit,
}

/// Every operation.
pub(crate) const OPERATIONS: [Operation; 7] = [
    Operation::Map,
    Operation::Unmap,
    Operation::UnmapReporting,
    Operation::ProtectLess,
    Operation::ProtectMore,
    Operation::Translate,
    Operation::Visit,
];

impl Operation {
    /// The name in that of a cell.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Unmap => "unmap",
            Self::UnmapReporting => "unmap-report",
            Self::ProtectLess => "protect-less",
            Self::ProtectMore => "protect-more",
            Self::Translate => "translate",
            Self::Visit => "visit",
        }
    }
}

/// What the guest may do: in what is mapped, or before it is taken away, or after it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Flags {
    /// Read and write.
    Rw,
    /// Read, write and execute.
    Rwx,
    /// Each in turn.
    Alternating,
}

impl Flags {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rw => "RW",
            Self::Rwx => "RWX",
            Self::Alternating => "alternating",
        }
    }
}

/// The size of the leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum LeafSize {
    /// 4 KiB.
    Page,
    /// 2 MiB.
    Block2M,
    /// 1 GiB.
    Block1G,
}

impl LeafSize {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Page => "4K",
            Self::Block2M => "2M",
            Self::Block1G => "1G",
        }
    }

    /// The bits of address in a leaf.
    pub(crate) const fn shift(self) -> u32 {
        match self {
            Self::Page => 12,
            Self::Block2M => 21,
            Self::Block1G => 30,
        }
    }

    /// The size.
    pub(crate) const fn bytes(self) -> u64 {
        1 << self.shift()
    }
}

/// The size of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Call {
    /// So many leaves.
    Leaves(u32),
    /// Everything in one call.
    All,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaves(count) => write!(f, "x{count}"),
            Self::All => f.write_str("xall"),
        }
    }
}

/// Where calls begin, and in which order they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Position {
    /// At multiples of their size, ascending.
    Whole,
    /// One leaf above, ascending; a call for everything leaves out the first leaf and the last.
    OffByOne,
    /// At multiples of their size, in random order.
    Random,
}

impl Position {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::OffByOne => "off-by-one",
            Self::Random => "random",
        }
    }
}

/// Where the leaves are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Spread {
    /// In 1 GiB.
    OneGib,
    /// In 64 GiB: 512 tables of pages, each 128 MiB from the next, or all of it with larger leaves.
    SixtyFourGib,
}

impl Spread {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OneGib => "in-1G",
            Self::SixtyFourGib => "in-64G",
        }
    }
}

/// What is there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum State {
    /// Nothing, before a map.
    Fresh,
    /// Empty tables, before a map.
    Tables,
    /// Everything, before all else.
    Full,
    /// Half: the neighbours of what is mapped; elsewhere the other half of every call is a hole.
    Half,
}

impl State {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Tables => "tables",
            Self::Full => "full",
            Self::Half => "half",
        }
    }
}

/// A cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) operation: Operation,
    pub(crate) flags: Flags,
    pub(crate) leaf: LeafSize,
    pub(crate) call: Call,
    pub(crate) position: Position,
    pub(crate) spread: Spread,
    pub(crate) state: State,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operation,
            flags,
            leaf,
            call,
            position,
            spread,
            state,
        } = self;
        let (operation, flags, leaf) = (operation.name(), flags.name(), leaf.name());
        let (position, spread, state) = (position.name(), spread.name(), state.name());
        write!(
            f,
            "{operation}/{leaf}/{call}/{position}/{flags}/{spread}/{state}"
        )
    }
}

impl Cell {
    /// Whether every word of the tables is touched once and in order, so that memory sets the pace.
    pub(crate) const fn is_memory_bound(&self) -> bool {
        let is_long = match self.call {
            Call::Leaves(leaves) => leaves >= 512,
            Call::All => true,
        };
        let has_many = match self.leaf {
            LeafSize::Page => true,
            LeafSize::Block2M => matches!(self.spread, Spread::SixtyFourGib),
            LeafSize::Block1G => false,
        };
        is_long && has_many && !matches!(self.operation, Operation::Translate)
    }

    /// Whether a call includes holes.
    pub(crate) const fn has_holes(&self) -> bool {
        let is_sparse = matches!(
            (self.leaf, self.spread, self.call),
            (LeafSize::Page, Spread::SixtyFourGib, Call::All)
        );
        is_sparse || self.has_half_calls()
    }

    /// Whether half of what a call covers is not there.
    pub(crate) const fn has_half_calls(&self) -> bool {
        matches!(self.state, State::Half) && !matches!(self.operation, Operation::Map)
    }
}
