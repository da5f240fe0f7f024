//! Whether what happened could have happened one after another.

use crate::model::Model;
use crate::operation::{Event, Leaf, Operation, Outcome};

/// A history: what happened, and when an entry was frozen.
pub(crate) struct History {
    pub(crate) events: Vec<Event>,
    /// From one moment to another.
    pub(crate) frozen: Vec<(usize, usize)>,
}

impl History {
    /// Whether some order of the events explains their outcomes and the `last` leaves: an order in which whatever ended
    /// before something else began comes first.
    pub(crate) fn is_explained(&self, before: &Model, last: &[Leaf]) -> bool {
        let taken = vec![false; self.events.len()];
        self.search(&taken, before, last)
    }

    fn search(&self, taken: &[bool], model: &Model, last: &[Leaf]) -> bool {
        let open: Vec<_> = (0..taken.len()).filter(|index| !taken[*index]).collect();
        if open.is_empty() {
            return model.leaves() == last;
        }
        let may_be_next = |&&index: &&usize| {
            let next = &self.events[index];
            // Those of one actor are in their order.
            open.iter().all(|&other| {
                let (event, is_earlier) = (&self.events[other], other < index);
                event.ended >= next.began && !(is_earlier && event.actor == next.actor)
            })
        };
        open.iter().filter(may_be_next).any(|&index| {
            let event = &self.events[index];
            let mut after = model.clone();
            let explained = self.is_excused(event) || after.apply(event.operation) == event.outcome;
            let mut taken = taken.to_vec();
            taken[index] = true;
            explained && self.search(&taken, &after, last)
        })
    }

    /// Whether the operation did nothing because an entry was frozen meanwhile.
    fn is_excused(&self, event: &Event) -> bool {
        let is_nothing = match event.outcome {
            Outcome::Busy => true,
            Outcome::Found(None) => matches!(event.operation, Operation::Translate { .. }),
            Outcome::Touched(false) => true,
            _ => false,
        };
        let overlaps = |&(from, to): &(usize, usize)| event.began <= to && event.ended >= from;
        is_nothing && self.frozen.iter().any(overlaps)
    }
}
