//! The regions of a page, as JSON that is small and quick to read: columns of numbers, addresses in pages, and
//! differences instead of addresses.
//!
//! ```text
//! {"file": "vm.toml", "digits": 10, "hasHuge": true,
//!  "flags": ["rw-u device"],
//!  "blocks": [step, pages, kind, flags, host, entries, ...],   six numbers for each block
//!  "lists": ["passthrough_devices"],
//!  "places": [list, index, line, start, length, ...],          five for each entry
//!  "names": ["uart"],                                          one for each entry
//!  "warnings": [{"code": "...", "message": "...", "blocks": [0]}]}
//! ```
//!
//! `step` is the distance to the start of the block before, `host` the distance from guest to host, or null. `start`
//! counts bytes from the start of the block; where that is no number that JSON's readers keep, it is the address, as text.

use std::collections::HashMap;
use std::io::{self, Write};

use mapping_flags::MappingFlags;
use nested_page_table::Level;
use region_planner::{Region, RegionKind};
use serde::Serialize;

use crate::config::List;
use crate::plan::Planned;
use crate::printable::printable;
use crate::problem::Failure;
use crate::report::json::Sequence;
use crate::report::picture::{Block, Widths};
use crate::report::table;
use crate::session::Machine;
use crate::warning::{Code, Warning};

/// Readers of JSON keep integers up to here.
const MOST_EXACT: u64 = 1 << 53;
/// So many warnings have their message in the page; of the others it has the code.
const MOST_MESSAGES: usize = 2000;

/// Writes the object.
pub(super) fn write(
    machine: &Machine<'_>,
    blocks: &[Block<'_, '_>],
    warnings: &[Warning],
    output: &mut impl Write,
) -> Result<(), Failure> {
    let planned = &machine.planned;
    let flags = flags_of(blocks);
    let lines = Lines::of(machine.text);
    let document = Document {
        file: &printable(machine.file),
        digits: Widths::of(blocks).digits(),
        has_huge: planned.hardware.geometry().largest_leaf() >= Level::BLOCK_1G,
        flags: flags
            .iter()
            .map(|&flags| table::flags(flags).trim_end().into())
            .collect(),
        blocks: Sequence(|| numbers_of(blocks, &flags)),
        lists: LISTS.map(List::key),
        places: Sequence(|| {
            entries_of(blocks).flat_map(|(block, entry)| place_of(planned, block, entry, &lines))
        }),
        names: Sequence(|| entries_of(blocks).map(|(_, entry)| printable(entry.name()))),
        warnings: warnings_of(blocks, warnings),
    };
    let mut escaped = NoMarkup(output);
    serde_json::to_writer(&mut escaped, &document).map_err(|error| Failure::Output(error.into()))
}

/// All entries, with the blocks that they belong to.
fn entries_of<'b, 'p, 'a>(
    blocks: &'b [Block<'p, 'a>],
) -> impl Iterator<Item = (&'b Block<'p, 'a>, &'p Region<'a>)> {
    let of_block = |block: &'b Block<'p, 'a>| block.entries().map(move |entry| (block, entry));
    blocks.iter().flat_map(of_block)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'d, B: Serialize, P: Serialize, N: Serialize> {
    file: &'d str,
    digits: usize,
    has_huge: bool,
    flags: Vec<String>,
    blocks: B,
    lists: [&'static str; LISTS.len()],
    places: P,
    names: N,
    warnings: Vec<WarningObject>,
}

/// A number, or text for what readers of JSON would round.
#[derive(Serialize)]
#[serde(untagged)]
enum Value {
    Number(i64),
    Text(String),
    Null,
}

impl Value {
    fn count(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }

    fn size(bytes: u64) -> Self {
        match i64::try_from(bytes) {
            Ok(number) if bytes < MOST_EXACT => Self::Number(number),
            _ => Self::Text(format!("{bytes:#x}")),
        }
    }

    /// From `base` to `address`, or else the address.
    fn distance(base: u64, address: u64) -> Self {
        let distance = i128::from(address) - i128::from(base);
        match i64::try_from(distance) {
            Ok(number) if number.unsigned_abs() < MOST_EXACT => Self::Number(number),
            _ => Self::Text(format!("{address:#x}")),
        }
    }
}

/// Every set of flags that occurs.
fn flags_of(blocks: &[Block<'_, '_>]) -> Vec<MappingFlags> {
    let mut flags = Vec::new();
    for found in blocks.iter().filter_map(Block::flags) {
        if !flags.contains(&found) {
            flags.push(found);
        }
    }
    flags
}

/// Six numbers for each block. In pages all addresses are exact.
fn numbers_of(blocks: &[Block<'_, '_>], flags: &[MappingFlags]) -> impl Iterator<Item = Value> {
    let page = |address: u64| i64::try_from(address >> 12).unwrap_or(i64::MAX);
    let mut before = 0;
    blocks.iter().flat_map(move |block| {
        let start = page(block.guest.start);
        let step = start - std::mem::replace(&mut before, start);
        let pages = page(block.guest.last) - start + 1;
        let flags = block
            .flags()
            .and_then(|of_block| flags.iter().position(|flags| *flags == of_block));
        let host = block.host.map(|host| page(host.start) - start);
        [
            Value::Number(step),
            Value::Number(pages),
            Value::Number(kind_number(block.kind())),
            Value::count(flags.unwrap_or_default()),
            host.map_or(Value::Null, Value::Number),
            Value::count(block.entries().count()),
        ]
    })
}

/// The position in the script's list of kinds.
const fn kind_number(kind: RegionKind) -> i64 {
    match kind {
        RegionKind::Identical => 0,
        RegionKind::Alloc => 1,
        RegionKind::Reserved => 2,
        RegionKind::Passthrough => 3,
        RegionKind::Emulated => 4,
    }
}

/// Every list that has rows with memory.
const LISTS: [List; 6] = [
    List::MemoryRegions,
    List::PassthroughDevices,
    List::PassthroughAddresses,
    List::EmulatedDevices,
    List::GuestType,
    List::Passthrough,
];

/// Five values for an entry of `block`.
fn place_of(
    planned: &Planned<'_, '_>,
    block: &Block<'_, '_>,
    region: &Region<'_>,
    lines: &Lines,
) -> [Value; 5] {
    let Some(entry) = planned.entry(region) else {
        return [const { Value::Number(0) }; 5];
    };
    let place = entry.place();
    let list = LISTS.iter().position(|list| *list == place.list);
    let index = match place.list {
        List::GuestType => Value::Null,
        _ => Value::Number(place.index.into()),
    };
    let page = block.guest.start & !0xfff;
    [
        Value::count(list.unwrap_or_default()),
        index,
        Value::count(lines.line_at(entry.offset())),
        Value::distance(page, region.guest().as_u64()),
        Value::size(region.length()),
    ]
}

/// Where the lines of a text end.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(offset, _)| offset).collect())
    }

    /// The line of an offset, counted from 1.
    fn line_at(&self, offset: usize) -> usize {
        1 + self.0.partition_point(|end| *end < offset)
    }
}

#[derive(Serialize)]
struct WarningObject {
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The positions of the blocks that it is about.
    blocks: Vec<usize>,
}

/// The warnings, with the blocks that they are about.
fn warnings_of(blocks: &[Block<'_, '_>], warnings: &[Warning]) -> Vec<WarningObject> {
    let exposing = blocks.iter().zip(0..).filter(|(block, _)| block.exposes());
    // These warnings come in the order of the mappings.
    let mut exposing = exposing.map(|(_, position)| position);
    let is_named = |warning: &Warning| warning.code != Code::PageExposure;
    let by_name = match warnings.iter().any(is_named) {
        true => positions_by_name(blocks),
        false => HashMap::new(),
    };
    let objects = warnings.iter().enumerate().map(|(index, warning)| {
        let sources = warning.sources.iter();
        let blocks = match is_named(warning) {
            true => sources
                .filter_map(|source| by_name.get(source.as_str()).copied())
                .collect(),
            false => exposing.next().into_iter().collect(),
        };
        WarningObject {
            code: warning.code.name(),
            message: (index < MOST_MESSAGES).then(|| printable(&warning.message).into_owned()),
            blocks,
        }
    });
    objects.collect()
}

/// The first block that has an entry of each name.
fn positions_by_name<'a>(blocks: &[Block<'_, 'a>]) -> HashMap<&'a str, usize> {
    let mut positions = HashMap::new();
    for (position, block) in blocks.iter().enumerate() {
        for entry in block.entries() {
            positions.entry(entry.name()).or_insert(position);
        }
    }
    positions
}

/// JSON as it stands in HTML: what would be markup is only in strings there, and written as an escape of JSON.
struct NoMarkup<W>(W);

impl<W: Write> Write for NoMarkup<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let escape = |byte: u8| match byte {
            b'<' => Some("\\u003c"),
            b'>' => Some("\\u003e"),
            b'&' => Some("\\u0026"),
            _ => None,
        };
        let plain = bytes
            .iter()
            .take_while(|byte| escape(**byte).is_none())
            .count();
        match bytes.first().copied().and_then(escape) {
            Some(escaped) => {
                self.0.write_all(escaped.as_bytes())?;
                Ok(1)
            }
            None => {
                self.0.write_all(bytes.get(..plain).unwrap_or_default())?;
                Ok(plain)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_the_script() {
        let mut written = Vec::new();
        serde_json::to_writer(NoMarkup(&mut written), "</script><!--&").unwrap();
        let text = String::from_utf8(written).unwrap();
        assert_eq!(text, r#""\u003c/script\u003e\u003c!--\u0026""#);
        let read: String = serde_json::from_str(&text).unwrap();
        assert_eq!(read, "</script><!--&");
    }

    #[test]
    fn what_is_not_exact_is_text() {
        let json = |value: Value| serde_json::to_string(&value).unwrap();
        assert_eq!(json(Value::distance(0x2000, 0x1000)), "-4096");
        assert_eq!(json(Value::distance(0, 1 << 53)), r#""0x20000000000000""#);
        assert_eq!(json(Value::size((1 << 53) - 1)), "9007199254740991");
        assert_eq!(json(Value::size(u64::MAX)), r#""0xffffffffffffffff""#);
    }

    #[test]
    fn lines_are_counted_from_1() {
        let lines = Lines::of("a\nb\n\nc");
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|offset| lines.line_at(offset)),
            [1, 1, 2, 2, 3, 4]
        );
    }
}
