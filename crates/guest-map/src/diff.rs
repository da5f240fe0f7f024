//! The operations that turn one map into another.

use std::io::{self, Write};

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags;
use region_planner::{Mapping, RegionKind};
use serde::{Serialize, Serializer};

use crate::plan::Planned;
use crate::report::Answer;
use crate::report::json::{Hexadecimal, Sequence, flag_names, hexadecimal};
use crate::report::table::{flags as flag_letters, host as host_column};
use crate::session::Machine;

/// What one byte of a guest is, and all that follow it in its piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    kind: RegionKind,
    /// `None` where the hypervisor chooses.
    host: Option<HostPhysAddr>,
    flags: MappingFlags,
}

/// One operation of a hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Unmap,
    Map(State),
    /// Only the permissions change.
    Protect(State),
}

impl Operation {
    /// What leads from one state to the other.
    fn between(before: Option<State>, after: Option<State>) -> Vec<Self> {
        match (before, after) {
            (before, after) if before == after => vec![],
            (None, Some(after)) => vec![Self::Map(after)],
            (Some(_), None) => vec![Self::Unmap],
            (Some(before), Some(after)) if before.differs_in_permissions_only(after) => {
                vec![Self::Protect(after)]
            }
            (_, Some(after)) => vec![Self::Unmap, Self::Map(after)],
            (None, None) => vec![],
        }
    }

    fn continues(self, previous: Self, bytes: u64) -> bool {
        match (previous, self) {
            (Self::Unmap, Self::Unmap) => true,
            (Self::Map(one), Self::Map(other)) | (Self::Protect(one), Self::Protect(other)) => {
                one.moved(bytes) == Some(other)
            }
            _ => false,
        }
    }
}

impl State {
    fn differs_in_permissions_only(self, other: Self) -> bool {
        let flags = other.flags;
        self.flags.memory_type() == flags.memory_type() && Self { flags, ..self } == other
    }

    /// The state `bytes` further on.
    fn moved(self, bytes: u64) -> Option<Self> {
        let host = match self.host {
            Some(host) => Some(host.checked_add(bytes)?),
            None => None,
        };
        Some(Self { host, ..self })
    }
}

/// What turns one map into the other, to be done in this order: what goes, then what comes or changes, each
/// by guest address.
#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    operations: Vec<Change>,
}

/// An operation on guest memory.
#[derive(Clone, Copy, Debug)]
struct Change {
    guest: GuestPhysRange,
    operation: Operation,
}

impl Difference {
    pub(crate) fn new(before: &Machine<'_>, after: &Machine<'_>) -> Self {
        let operations = operations(&before.planned, &after.planned).into_iter();
        let operations = operations.map(|(guest, operation)| Change { guest, operation });
        let operations = operations.collect();
        Self { operations }
    }
}

impl Answer for Difference {
    fn write_text(&self, output: &mut impl Write) -> io::Result<()> {
        if self.operations.is_empty() {
            writeln!(output, "the maps are equal")?;
        }
        for Change { guest, operation } in &self.operations {
            write_operation(*guest, *operation, output)?;
        }
        Ok(())
    }
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Object<F: Serialize> {
            operation: &'static str,
            gpa: Hexadecimal,
            size: Hexadecimal,
            #[serde(flatten)]
            state: Option<StateObject<F>>,
        }
        #[derive(Serialize)]
        struct StateObject<F: Serialize> {
            hpa: Option<Hexadecimal>,
            flags: F,
            kind: &'static str,
        }
        let (operation, state) = match self.operation {
            Operation::Unmap => ("unmap", None),
            Operation::Map(state) => ("map", Some(state)),
            Operation::Protect(state) => ("protect", Some(state)),
        };
        let object = Object {
            operation,
            gpa: hexadecimal(self.guest.start()),
            size: Hexadecimal(self.guest.size()),
            state: state.map(|state| StateObject {
                hpa: state.host.map(hexadecimal),
                flags: Sequence(move || flag_names(state.flags)),
                kind: state.kind.name(),
            }),
        };
        object.serialize(serializer)
    }
}

fn write_operation(
    guest: GuestPhysRange,
    operation: Operation,
    output: &mut impl Write,
) -> io::Result<()> {
    let range = format!(
        "{:#012x}-{:#012x}",
        guest.start().as_u64(),
        guest.last().as_u64()
    );
    match operation {
        Operation::Unmap => writeln!(output, "unmap    {range}"),
        Operation::Protect(state) => {
            writeln!(
                output,
                "protect  {range}  {}",
                flag_letters(state.flags).trim_end()
            )
        }
        Operation::Map(state) => writeln!(
            output,
            "map      {range}  {:12}  {}  {}",
            host_column(guest.start(), state.host, 10),
            flag_letters(state.flags),
            state.kind,
        ),
    }
}

/// Both maps are sorted; every address where one of them changes is looked at once.
fn operations(
    before: &Planned<'_, '_>,
    after: &Planned<'_, '_>,
) -> Vec<(GuestPhysRange, Operation)> {
    let (mut one, mut other) = (Cursor::new(before), Cursor::new(after));
    let mut found: Vec<(GuestPhysRange, Operation)> = Vec::new();
    let mut next = Some(GuestPhysAddr::new(0));
    while let Some(start) = next {
        let (one, other) = (one.piece(start), other.piece(start));
        let last = one.last.min(other.last);
        let Ok(piece) = GuestPhysRange::from_start_last(start, last) else {
            break;
        };
        for operation in Operation::between(one.state, other.state) {
            add(&mut found, piece, operation);
        }
        next = piece.end();
    }
    // A joined map may begin before an unmap that makes room for it: those come first.
    found.sort_by_key(|(guest, operation)| (*operation != Operation::Unmap, guest.start()));
    found
}

/// Joins an operation with an earlier one that it continues. There are two at most at one address.
fn add(found: &mut Vec<(GuestPhysRange, Operation)>, piece: GuestPhysRange, operation: Operation) {
    let earlier = found.iter_mut().rev().take(2);
    let mut earlier = earlier.filter(|(guest, _)| guest.is_followed_by(&piece));
    let joined = earlier.find_map(|(guest, previous)| {
        let joined = GuestPhysRange::from_start_last(guest.start(), piece.last()).ok();
        let continues = operation.continues(*previous, guest.size());
        joined.filter(|_| continues).map(|joined| (guest, joined))
    });
    match joined {
        Some((guest, joined)) => *guest = joined,
        None => found.push((piece, operation)),
    }
}

/// The mappings of a plan, from a place on.
struct Cursor<'p, 'a> {
    rest: Vec<Mapping<'p, 'a>>,
}

/// What is the same up to an address.
struct Piece {
    state: Option<State>,
    last: GuestPhysAddr,
}

impl<'p, 'a> Cursor<'p, 'a> {
    fn new(planned: &'p Planned<'p, 'a>) -> Self {
        let rest = planned.plan.mappings().rev().collect();
        Self { rest }
    }

    /// The piece that begins at `start`, which never goes back.
    fn piece(&mut self, start: GuestPhysAddr) -> Piece {
        while self
            .rest
            .pop_if(|mapping| mapping.guest().last() < start)
            .is_some()
        {}
        let Some(mapping) = self.rest.last() else {
            let last = GuestPhysAddr::new(u64::MAX);
            return Piece { state: None, last };
        };
        let guest = mapping.guest();
        match start.checked_offset_from(guest.start()) {
            None => {
                let last = guest.start().checked_sub(1).unwrap_or(guest.start());
                Piece { state: None, last }
            }
            Some(offset) => {
                let state = State {
                    kind: mapping.kind(),
                    host: mapping.host(),
                    flags: mapping.flags(),
                };
                let last = guest.last();
                let state = state.moved(offset);
                Piece { state, last }
            }
        }
    }
}
