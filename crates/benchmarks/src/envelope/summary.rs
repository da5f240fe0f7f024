//! The cells where this project is not first.

use std::fmt::{self, Write};

use crate::envelope::outcome::{CellOutcome, Kind, Time};

/// Published crates.
pub(crate) const PEERS: [Kind; 2] = [Kind::Live, Kind::Unused];
/// How far behind is behind.
pub(crate) const BEHIND: f64 = 1.05;
/// How far above the floor is far.
const FAR: f64 = 3.0;

/// One line: the slowest of ours beside the best of the others.
pub(crate) fn line(outcome: &CellOutcome) -> String {
    let name = &outcome.name;
    let ours = described(outcome.ours());
    let peer = described(outcome.fastest(&PEERS));
    let ratio = |kinds: &[Kind]| match outcome.ratio_to(kinds) {
        Some(ratio) => format!("{ratio:.2}"),
        None => "-".to_owned(),
    };
    let (to_peer, to_live) = (ratio(&PEERS), ratio(&[Kind::Live]));
    let (to_walker, to_floor) = (ratio(&[Kind::Bare]), ratio(&[Kind::Floor]));
    let to_memory = match outcome.fastest(&[Kind::Bandwidth]) {
        Some(_) => format!(", memory {}", ratio(&[Kind::Bandwidth])),
        None => String::new(),
    };
    format!(
        "{name:<58} {ours}; {peer}: {to_peer} (live {to_live}), walker {to_walker}, floor {to_floor}{to_memory}"
    )
}

fn described(time: Option<&Time>) -> String {
    match time {
        Some(Time { contender, ns, .. }) => format!("{contender} {ns:.2}"),
        None => "none".to_owned(),
    }
}

/// The lists, and how many cells there are.
///
/// # Errors
///
/// Those of writing text.
pub(crate) fn text(outcomes: &[CellOutcome]) -> Result<String, fmt::Error> {
    let mut text = String::new();
    list(
        &mut text,
        outcomes,
        "behind a published peer",
        &PEERS,
        BEHIND,
    )?;
    list(
        &mut text,
        outcomes,
        "behind the bare range walker only",
        &[Kind::Bare],
        BEHIND,
    )?;
    list(
        &mut text,
        outcomes,
        "more than 3 times the floor",
        &[Kind::Floor],
        FAR,
    )?;
    let count = |kinds: &[Kind], limit| {
        let is_beyond = |outcome: &&CellOutcome| is_beyond(outcome, kinds, limit);
        outcomes.iter().filter(is_beyond).count()
    };
    writeln!(
        text,
        "Of {} cells: {} behind a published peer by more than 5 %, {} of them behind one for live tables; {} behind the bare range walker; {} above 3 times the floor.",
        outcomes.len(),
        count(&PEERS, BEHIND),
        count(&[Kind::Live], BEHIND),
        count(&[Kind::Bare], BEHIND),
        count(&[Kind::Floor], FAR),
    )?;
    Ok(text)
}

fn is_beyond(outcome: &CellOutcome, kinds: &[Kind], limit: f64) -> bool {
    outcome.ratio_to(kinds).is_some_and(|ratio| ratio > limit)
}

fn list(
    text: &mut String,
    outcomes: &[CellOutcome],
    title: &str,
    kinds: &[Kind],
    limit: f64,
) -> fmt::Result {
    let is_listed = |outcome: &&CellOutcome| {
        let is_first_list = kinds == PEERS || kinds == [Kind::Floor];
        is_beyond(outcome, kinds, limit) && (is_first_list || !is_beyond(outcome, &PEERS, BEHIND))
    };
    let listed: Vec<&CellOutcome> = outcomes.iter().filter(is_listed).collect();
    writeln!(text, "## {title}: {}\n", listed.len())?;
    for outcome in listed {
        writeln!(text, "{}", line(outcome))?;
    }
    writeln!(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::cell;
    use std::time::Duration;

    fn outcome(ours: u64, peer: u64, walker: u64) -> CellOutcome {
        let time = |contender, kind, nanos| {
            Time::new(contender, kind, vec![Duration::from_nanos(nanos)], 1)
        };
        let cell = cell("map/4K/x1/whole/RW/in-1G/fresh").unwrap();
        CellOutcome {
            name: cell.to_string(),
            cell,
            units: 1,
            times: vec![
                time("slower", Kind::Ours, ours),
                time("faster", Kind::Ours, 1),
                time("peer", Kind::Unused, peer),
                time("walker", Kind::Bare, walker),
            ],
            refusals: Vec::new(),
        }
    }

    #[test]
    fn the_slowest_of_ours_counts() {
        let behind = outcome(200, 100, 100);
        assert_eq!(behind.ratio_to(&PEERS), Some(2.0));
        let text = text(&[behind, outcome(104, 100, 90), outcome(90, 100, 100)]).unwrap();
        assert!(text.contains("## behind a published peer: 1\n"), "{text}");
        assert!(
            text.contains("## behind the bare range walker only: 1\n"),
            "{text}"
        );
        assert!(
            text.contains("Of 3 cells: 1 behind a published peer by more than 5 %, 0 of them"),
            "{text}"
        );
    }
}
