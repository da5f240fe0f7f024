//! All cells that make sense.

use crate::envelope::cell::{
    Call, Cell, Flags, LeafSize, OPERATIONS, Operation, Position, Spread, State,
};

const FLAGS: [Flags; 3] = [Flags::Rw, Flags::Rwx, Flags::Alternating];
const LEAF_SIZES: [LeafSize; 3] = [LeafSize::Page, LeafSize::Block2M, LeafSize::Block1G];
const CALLS: [Call; 6] = [
    Call::Leaves(1),
    Call::Leaves(4),
    Call::Leaves(16),
    Call::Leaves(64),
    Call::Leaves(512),
    Call::All,
];
const POSITIONS: [Position; 3] = [Position::Whole, Position::OffByOne, Position::Random];
const SPREADS: [Spread; 2] = [Spread::OneGib, Spread::SixtyFourGib];
const STATES: [State; 4] = [State::Fresh, State::Tables, State::Full, State::Half];

/// Every cell that makes sense, operation by operation.
pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for operation in OPERATIONS {
        for leaf in LEAF_SIZES {
            for spread in SPREADS {
                of_leaves(operation, leaf, spread, &mut cells);
            }
        }
    }
    cells
}

fn of_leaves(operation: Operation, leaf: LeafSize, spread: Spread, cells: &mut Vec<Cell>) {
    for flags in FLAGS {
        for state in STATES {
            for call in CALLS {
                for position in POSITIONS {
                    let cell = Cell {
                        operation,
                        flags,
                        leaf,
                        call,
                        position,
                        spread,
                        state,
                    };
                    if makes_sense(&cell) {
                        cells.push(cell);
                    }
                }
            }
        }
    }
}

fn makes_sense(cell: &Cell) -> bool {
    flags_make_sense(cell) && state_makes_sense(cell) && place_makes_sense(cell)
}

/// What only removes or reads does not depend on which flags there are, but may on whether they are equal.
fn flags_make_sense(cell: &Cell) -> bool {
    let takes_flags = matches!(
        cell.operation,
        Operation::Map | Operation::ProtectLess | Operation::ProtectMore
    );
    let is_one_call_of_map = cell.operation == Operation::Map && cell.call == Call::All;
    match cell.flags {
        Flags::Rw => true,
        Flags::Rwx => takes_flags,
        Flags::Alternating => !is_one_call_of_map,
    }
}

/// A map begins with less than everything, all else with something. What is half there needs a call that includes
/// a hole and a leaf.
fn state_makes_sense(cell: &Cell) -> bool {
    match (cell.operation, cell.state) {
        (Operation::Map, State::Half) => cell.call != Call::All,
        (Operation::Map, state) => state != State::Full,
        (Operation::Translate, State::Half) => true,
        (_, State::Half) => !matches!(cell.call, Call::Leaves(..16)),
        (_, state) => state == State::Full,
    }
}

fn place_makes_sense(cell: &Cell) -> bool {
    let leaves = match cell.call {
        Call::Leaves(leaves) => leaves,
        Call::All => u32::MAX,
    };
    // One address at a time.
    let call_makes_sense = cell.operation != Operation::Translate || leaves == 1;
    let position_makes_sense = match cell.position {
        Position::Whole => true,
        Position::OffByOne => leaves > 1,
        Position::Random => cell.call != Call::All,
    };
    let leaf_makes_sense = match (cell.leaf, cell.spread) {
        (LeafSize::Page, Spread::OneGib) => true,
        // Each table stands alone: no call reaches into the next, and one map would fill what lies between.
        (LeafSize::Page, Spread::SixtyFourGib) => {
            let is_one_map = cell.operation == Operation::Map && cell.call == Call::All;
            cell.position != Position::OffByOne && !is_one_map
        }
        // 512 leaves are everything.
        (LeafSize::Block2M, Spread::OneGib) => leaves != 512,
        (LeafSize::Block2M, Spread::SixtyFourGib) => true,
        // 64 leaves are everything.
        (LeafSize::Block1G, Spread::OneGib) => false,
        (LeafSize::Block1G, Spread::SixtyFourGib) => leaves < 64 || cell.call == Call::All,
    };
    call_makes_sense && position_makes_sense && leaf_makes_sense
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn cells_differ_and_every_dimension_is_covered() {
        let cells = cells();
        let names: HashSet<String> = cells.iter().map(Cell::to_string).collect();
        assert_eq!(names.len(), cells.len());
        let has = |wanted: fn(&Cell) -> bool| cells.iter().any(wanted);
        assert!(
            OPERATIONS
                .iter()
                .all(|o| cells.iter().any(|c| c.operation == *o))
        );
        assert!(FLAGS.iter().all(|f| cells.iter().any(|c| c.flags == *f)));
        assert!(CALLS.iter().all(|k| cells.iter().any(|c| c.call == *k)));
        assert!(STATES.iter().all(|s| cells.iter().any(|c| c.state == *s)));
        assert!(has(|c| c.leaf == LeafSize::Block1G));
        assert!(names.contains("protect-less/2M/xall/whole/RWX/in-64G/full"));
        assert!(!has(
            |c| c.operation == Operation::Map && c.state == State::Full
        ));
    }
}
