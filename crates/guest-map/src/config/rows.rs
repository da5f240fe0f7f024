//! Rows: positional arrays of numbers and names.

use std::borrow::Cow;

use guest_vm::MapType;

use super::arrays::{Element, Integer, Value};
use super::{Config, List, PathRow, Place, Row, RowKind};
use crate::problem::Fault;

/// The most elements that a row has.
const MAX_CELLS: usize = 6;

/// Adds the rows of lists to a configuration.
pub(super) struct Rows<'r, 'i> {
    pub(super) config: &'r mut Config<'i>,
    pub(super) faults: &'r mut Vec<Fault>,
}

impl<'i> Rows<'_, 'i> {
    pub(super) fn read(&mut self, list: List, array: &Element<'_, 'i>) {
        for (index, element) in (0..).zip(array.elements()) {
            let place = Place {
                list,
                index,
                offset: element.node.start,
            };
            self.read_row(place, &element);
        }
    }

    /// `None` when there was a fault, which is noted.
    fn read_row(&mut self, place: Place, element: &Element<'_, 'i>) -> Option<()> {
        if !matches!(element.node.value, Value::Array(_)) {
            let (shape, type_name) = (shape(place.list), element.type_name());
            let text = format!("{place} is {type_name} and not a row: write {shape}");
            self.fault(place.offset, text);
            return None;
        }
        let row = Cells::of(place, element);
        match (place.list, row.count) {
            (List::MemoryRegions, 4) => self.read_memory(&row),
            (List::PassthroughDevices, 1) => self.read_path(&row),
            (List::PassthroughDevices, 4 | 5) => self.read_device(&row),
            (List::PassthroughAddresses, 2) => self.read_addresses(&row),
            (List::EmulatedDevices, 6) => self.read_emulated(&row),
            (List::PassthroughPorts, 2) => self.read_ports(&row),
            (List::ExcludedDevices, 1..) => self.read_excluded(place, element),
            (list, count) => {
                let text = format!("{place} has {count} values: write {}", shape(list));
                self.fault(place.offset, text);
                None
            }
        }
    }

    fn fault(&mut self, offset: u32, text: String) {
        let offset = offset as usize;
        self.faults.push(Fault { offset, text });
    }

    /// `[gpa, size, flags, map_type]`
    fn read_memory(&mut self, row: &Cells<'_, 'i>) -> Option<()> {
        let numbers = [
            self.number(row, 0, "gpa"),
            self.number(row, 1, "size"),
            self.number(row, 2, "flags"),
            self.number(row, 3, "map_type"),
        ];
        let [Some(gpa), Some(size), Some(flags), Some(number)] = numbers else {
            return None;
        };
        let map_type = MapType::from_configuration(number);
        if map_type.is_none() {
            let place = row.place;
            let text = format!(
                "{place} (guest {gpa:#x} + {size:#x}) has map_type {number:#x}: write 0 (alloc), 1 (identical) or 2 (reserved)"
            );
            self.fault(place.offset, text);
        }
        let kind = RowKind::Ram { flags, map_type };
        self.push(
            row,
            Cow::Owned(row.place.to_string()),
            [gpa, gpa, size],
            kind,
        )
    }

    /// `["/device/tree/path"]`
    fn read_path(&mut self, row: &Cells<'_, 'i>) -> Option<()> {
        let path = self.text(row, 0, "the path")?;
        let place = row.place;
        self.config.passed.push(PathRow { place, path });
        Some(())
    }

    /// `[name, gpa, hpa, length, irq]`
    fn read_device(&mut self, row: &Cells<'_, 'i>) -> Option<()> {
        let name = self.text(row, 0, "the name");
        let numbers = [
            self.number(row, 1, "gpa"),
            self.number(row, 2, "hpa"),
            self.number(row, 3, "length"),
        ];
        let has_irq = row.count < 5 || self.number(row, 4, "irq").is_some();
        match numbers {
            [Some(gpa), Some(hpa), Some(length)] if has_irq => {
                self.push(row, name?, [gpa, hpa, length], RowKind::Passthrough)
            }
            _ => None,
        }
    }

    /// `[gpa, length]`
    fn read_addresses(&mut self, row: &Cells<'_, 'i>) -> Option<()> {
        let (gpa, length) = (self.number(row, 0, "gpa"), self.number(row, 1, "length"));
        let (gpa, length) = (gpa?, length?);
        let name = Cow::Owned(row.place.to_string());
        self.push(row, name, [gpa, gpa, length], RowKind::Passthrough)
    }

    /// `[port, count]`
    fn read_ports(&mut self, row: &Cells<'_, 'i>) -> Option<()> {
        let (port, count) = (self.number(row, 0, "port"), self.number(row, 1, "count"));
        let (port, count) = (port?, count?);
        let ports = ports(port, count);
        if ports.is_none() {
            let text = format!("{}: {}", row.place, no_ports(port, count));
            self.fault(row.place.offset, text);
        }
        self.config.ports.extend(ports);
        Some(())
    }

    /// `[name, gpa, length, irq, type, [cfg...]]`
    fn read_emulated(&mut self, row: &Cells<'_, 'i>) -> Option<()> {
        let name = self.text(row, 0, "the name");
        let numbers = [
            self.number(row, 1, "gpa"),
            self.number(row, 2, "length"),
            self.number(row, 3, "irq"),
            self.number(row, 4, "type"),
        ];
        let config = self.numbers(row, 5, "the configuration");
        let [Some(gpa), Some(length), Some(_), Some(device_type)] = numbers else {
            return None;
        };
        config?;
        let kind = RowKind::Emulated { device_type };
        self.push(row, name?, [gpa, gpa, length], kind)
    }

    /// `["/path"]`, or several paths.
    fn read_excluded(&mut self, place: Place, row: &Element<'_, 'i>) -> Option<()> {
        for element in row.elements() {
            let Value::Text(path) = &element.node.value else {
                let written = element.as_written();
                self.fault(
                    place.offset,
                    format!("{place}: {written} is not a path: write [\"/device/tree/path\"]"),
                );
                return None;
            };
            let path = path.clone();
            self.config.excluded.push(PathRow { place, path });
        }
        Some(())
    }

    fn push(
        &mut self,
        row: &Cells<'_, 'i>,
        name: Cow<'i, str>,
        [gpa, hpa, size]: [u64; 3],
        kind: RowKind,
    ) -> Option<()> {
        self.config.rows.push(Row {
            place: row.place,
            name,
            gpa,
            hpa,
            size,
            kind,
        });
        Some(())
    }

    fn number(&mut self, row: &Cells<'_, 'i>, index: usize, what: &str) -> Option<u64> {
        let element = row.get(index)?;
        if let Value::Integer(Integer::Number(number)) = element.node.value {
            return Some(number);
        }
        self.fault(element.node.start, not_a_number(row, &element, what));
        None
    }

    fn numbers(&mut self, row: &Cells<'_, 'i>, index: usize, what: &str) -> Option<()> {
        let array = row.get(index)?;
        if !matches!(array.node.value, Value::Array(_)) {
            let (row, type_name) = (row.describe(), array.type_name());
            self.fault(
                array.node.start,
                format!("{row}: {what} is {type_name}: write an array of numbers"),
            );
            return None;
        }
        let mut elements = array.elements();
        let wrong = elements
            .find(|element| !matches!(element.node.value, Value::Integer(Integer::Number(_))));
        match wrong {
            Some(element) => {
                self.fault(element.node.start, not_a_number(row, &element, what));
                None
            }
            None => Some(()),
        }
    }

    fn text(&mut self, row: &Cells<'_, 'i>, index: usize, what: &str) -> Option<Cow<'i, str>> {
        let element = row.get(index)?;
        if let Value::Text(text) = &element.node.value {
            return Some(text.clone());
        }
        let (row, type_name) = (row.describe(), element.type_name());
        self.fault(
            element.node.start,
            format!("{row}: {what} is {type_name}: write a string in quotes"),
        );
        None
    }
}

/// First and last of `count` I/O ports, which have 16 bits (Intel SDM volume 1, chapter "Input/Output").
pub(crate) fn ports(port: u64, count: u64) -> Option<(u16, u16)> {
    let last = port.checked_add(count.checked_sub(1)?)?;
    Some((port.try_into().ok()?, last.try_into().ok()?))
}

/// What is wrong with numbers that are no ports.
pub(crate) fn no_ports(port: u64, count: u64) -> String {
    format!("{count:#x} I/O ports from {port:#x}: write at least one port, and none above 0xffff")
}

#[cold]
fn not_a_number(row: &Cells<'_, '_>, element: &Element<'_, '_>, what: &str) -> String {
    let (row, written) = (row.describe(), element.as_written());
    let advice = match element.node.value {
        Value::Integer(Integer::Negative) => "is negative",
        Value::Integer(_) => "exceeds 64 bits",
        _ => "is not a number",
    };
    format!("{row}: {what} {written} {advice}: write a number from 0 to 0xffff_ffff_ffff_ffff")
}

/// The elements of one row.
struct Cells<'n, 'i> {
    place: Place,
    cells: [Option<Element<'n, 'i>>; MAX_CELLS],
    /// How many there are, those past [`MAX_CELLS`] included.
    count: usize,
}

impl<'n, 'i> Cells<'n, 'i> {
    fn of(place: Place, row: &Element<'n, 'i>) -> Self {
        let mut elements = row.elements();
        let cells = [(); MAX_CELLS].map(|()| elements.next());
        let count = cells.iter().flatten().count() + elements.count();
        Self {
            place,
            cells,
            count,
        }
    }

    fn get(&self, index: usize) -> Option<Element<'n, 'i>> {
        self.cells.get(index).copied().flatten()
    }

    /// Where the row stands, and its name if it has one.
    fn describe(&self) -> String {
        match self.get(0).map(|first| &first.node.value) {
            Some(Value::Text(name)) => format!("{} {name:?}", self.place),
            _ => self.place.to_string(),
        }
    }
}

/// How a row of `list` is written.
const fn shape(list: List) -> &'static str {
    match list {
        List::MemoryRegions => "[gpa, size, flags, map_type]",
        List::PassthroughDevices => {
            "[name, gpa, hpa, length, irq], where irq may be left out, or [\"/device/tree/path\"]"
        }
        List::PassthroughAddresses => "[gpa, length]",
        List::EmulatedDevices => "[name, gpa, length, irq, type, [configuration...]]",
        List::ExcludedDevices => "[\"/device/tree/path\"]",
        List::PassthroughPorts => "[port, count]",
        List::GuestType | List::Passthrough | List::Disabled => "{ path = \"/device/tree/path\" }",
    }
}
