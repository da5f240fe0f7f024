//! The keys of a configuration: which there are, which are needed, and what the others are worth.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::{Expected, ParseError};

use super::arrays::{Arrays, Element, Integer, Value};
use super::dialect::{Dialect, Of, machine_format};
use super::references::References;
use super::rows::Rows;
use super::{Config, List, Load, PathRow, Place};
use crate::problem::Fault;
use crate::warning::{Code, Warning};

/// What the value of a key is.
#[derive(Clone, Copy)]
enum Kind {
    Number,
    Text,
    Boolean,
    Numbers,
    Rows(List),
    /// `virtualized` or `passthrough`.
    GuestType,
    /// References to physical devices.
    References(List),
    Virtual,
}

/// A key that is known, what its value is, and the dialect that it belongs to.
type Key = (&'static str, Kind, Of);

const BASE: &[Key] = &[
    ("id", Kind::Number, Of::Both),
    ("name", Kind::Text, Of::Both),
    ("vm_type", Kind::Number, Of::Classic),
    ("guest_type", Kind::GuestType, Of::Axvmconfig),
    ("cpu_num", Kind::Number, Of::Both),
    ("phys_cpu_ids", Kind::Numbers, Of::Both),
    ("phys_cpu_sets", Kind::Numbers, Of::Both),
];

const KERNEL: &[Key] = &[
    ("entry_point", Kind::Number, Of::Both),
    ("kernel_path", Kind::Text, Of::Both),
    ("kernel_load_addr", Kind::Number, Of::Both),
    ("bios_path", Kind::Text, Of::Both),
    ("bios_load_addr", Kind::Number, Of::Both),
    ("dtb_path", Kind::Text, Of::Both),
    ("dtb_load_addr", Kind::Number, Of::Both),
    ("ramdisk_path", Kind::Text, Of::Both),
    ("ramdisk_load_addr", Kind::Number, Of::Both),
    ("image_location", Kind::Text, Of::Both),
    ("cmdline", Kind::Text, Of::Both),
    ("disk_path", Kind::Text, Of::Both),
    ("enable_bios", Kind::Boolean, Of::AxvmconfigOptional),
    ("boot_protocol", Kind::Text, Of::AxvmconfigOptional),
    ("uefi_firmware_path", Kind::Text, Of::AxvmconfigOptional),
    ("memory_regions", Kind::Rows(List::MemoryRegions), Of::Both),
];

const DEVICES: &[Key] = &[
    (
        "emu_devices",
        Kind::Rows(List::EmulatedDevices),
        Of::Classic,
    ),
    (
        "passthrough_devices",
        Kind::Rows(List::PassthroughDevices),
        Of::Classic,
    ),
    ("interrupt_mode", Kind::Text, Of::Classic),
    (
        "excluded_devices",
        Kind::Rows(List::ExcludedDevices),
        Of::Classic,
    ),
    (
        "passthrough_addresses",
        Kind::Rows(List::PassthroughAddresses),
        Of::Classic,
    ),
    (
        "passthrough_ports",
        Kind::Rows(List::PassthroughPorts),
        Of::Classic,
    ),
    (
        "passthrough",
        Kind::References(List::Passthrough),
        Of::Axvmconfig,
    ),
    ("disabled", Kind::References(List::Disabled), Of::Axvmconfig),
    ("virtual", Kind::Virtual, Of::Axvmconfig),
];

const SECTIONS: &[(&str, &[Key])] = &[("base", BASE), ("kernel", KERNEL), ("devices", DEVICES)];

/// The keys of `[kernel]` with addresses that memory has to hold, and those of the files that are loaded
/// there.
const LOADS: &[(&str, &str)] = &[
    ("entry_point", ""),
    ("kernel_load_addr", "kernel_path"),
    ("bios_load_addr", "bios_path"),
    ("dtb_load_addr", "dtb_path"),
    ("ramdisk_load_addr", "ramdisk_path"),
];

/// The keys that a configuration cannot do without.
const REQUIRED: &[(&str, &str)] = &[
    ("base", "id"),
    ("base", "name"),
    ("kernel", "memory_regions"),
];

impl<'i> Config<'i> {
    /// Reads the configuration `text`: what can be understood of it, and everything that is wrong.
    pub(crate) fn read(text: &'i str) -> (Self, Vec<Fault>) {
        let config = Config {
            id: 0,
            id_offset: 0,
            name: String::new(),
            rows: Vec::new(),
            passed: Vec::new(),
            excluded: Vec::new(),
            loads: Vec::new(),
            ports: Vec::new(),
            virtual_devices: Vec::new(),
            warnings: Vec::new(),
        };
        if u32::try_from(text.len()).is_err() {
            let text = "longer than 4 GiB".into();
            return (config, vec![Fault { offset: 0, text }]);
        }
        let arrays = match Arrays::parse(text) {
            Ok(arrays) => arrays,
            Err(errors) => return (config, errors.iter().map(syntax_fault).collect()),
        };
        let skeleton = arrays.skeleton();
        let (table, errors) = DeTable::parse_recoverable(&skeleton);
        if !errors.is_empty() {
            return (config, errors.iter().map(toml_fault).collect());
        }
        let mut reader = Reader {
            arrays: &arrays,
            config,
            faults: Vec::new(),
            dialect: Dialect::default(),
        };
        reader.read_sections(table.get_ref());
        (reader.config, reader.faults)
    }
}

fn syntax_fault(error: &ParseError) -> Fault {
    let mut text = format!("not TOML: {}", error.description());
    for (index, expected) in error.expected().unwrap_or_default().iter().enumerate() {
        text += if index == 0 { ", expected " } else { " or " };
        match expected {
            Expected::Literal(literal) => text += &format!("`{}`", literal.escape_debug()),
            Expected::Description(description) => text += description,
            _ => text += "something else",
        }
    }
    let offset = error.unexpected().map_or(0, |span| span.start());
    Fault { offset, text }
}

fn toml_fault(error: &toml::de::Error) -> Fault {
    Fault {
        offset: error.span().map_or(0, |span| span.start),
        text: format!("not TOML: {}", error.message()),
    }
}

struct Reader<'n, 'i> {
    arrays: &'n Arrays<'i>,
    config: Config<'i>,
    faults: Vec<Fault>,
    dialect: Dialect,
}

impl<'i> Reader<'_, 'i> {
    fn fault(&mut self, span: Range<usize>, text: String) {
        let offset = span.start;
        self.faults.push(Fault { offset, text });
    }

    fn read_sections(&mut self, document: &DeTable<'_>) {
        if let Some((name, _)) = document.get_key_value("machine") {
            return self.faults.push(machine_format(name.span()));
        }
        self.find_dialect(document);
        for (name, value) in document {
            let known = SECTIONS
                .iter()
                .find(|(section, _)| section == name.get_ref());
            match (known, value.get_ref()) {
                (Some((section, keys)), DeValue::Table(table)) => {
                    self.read_section(section, keys, table);
                }
                (Some((section, _)), _) => {
                    self.fault(
                        value.span(),
                        format!("{section} is not a section: write [{section}]"),
                    );
                }
                (None, _) => self.unknown_key("", name, value),
            }
        }
        for (section, key) in REQUIRED {
            let table = document.get(*section).map(Spanned::get_ref);
            if table.is_none_or(|table| table.get(*key).is_none()) {
                self.fault(0..0, format!("[{section}] {key} is missing: add it"));
            }
        }
        self.references().check_conflicts();
        // Tables are sorted by name; the rows go by kind.
        self.config.rows.sort_by_key(|row| row.place.list);
        self.config.passed.sort_by_key(|row| row.place.list);
        self.config.loads.sort_by_key(|load| load.offset);
    }

    fn find_dialect(&mut self, document: &DeTable<'_>) {
        for (section, keys) in SECTIONS {
            let table = document
                .get(*section)
                .and_then(|value| value.get_ref().as_table());
            for (key, _) in table.into_iter().flatten() {
                let known = keys.iter().find(|(known, ..)| known == key.get_ref());
                if let Some((name, _, of)) = known {
                    self.dialect.add(section, name, *of, key.span());
                }
            }
        }
        self.faults.extend(self.dialect.mixed());
    }

    fn references(&mut self) -> References<'_, 'i> {
        References {
            config: &mut self.config,
            faults: &mut self.faults,
        }
    }

    fn read_section(&mut self, section: &str, keys: &[Key], table: &DeTable<'_>) {
        for (key, value) in table {
            let known = keys.iter().find(|(known, ..)| known == key.get_ref());
            let known = known
                .filter(|(.., of)| *of != Of::AxvmconfigOptional || self.dialect.is_axvmconfig());
            let Some((known, kind, _)) = known else {
                self.unknown_key(section, key, value);
                continue;
            };
            let name = format!("[{section}] {known}");
            match kind {
                Kind::Number => {
                    let number = self.read_number(&name, value);
                    if *known == "id" {
                        self.config.id = number.unwrap_or_default();
                        self.config.id_offset = value.span().start;
                    }
                    if let Some((key, path)) = LOADS.iter().find(|(key, _)| key == known) {
                        let path = table.get(*path).and_then(|path| path.get_ref().as_str());
                        self.config.loads.extend(number.map(|address| Load {
                            key,
                            address,
                            offset: value.span().start,
                            path: path.map(String::from),
                        }));
                    }
                }
                Kind::Text => {
                    let text = self.read_text(&name, value);
                    if *known == "name" {
                        self.config.name = text.unwrap_or_default();
                    }
                }
                Kind::Numbers => self.read_numbers(&name, value),
                Kind::Boolean => self.read_boolean(&name, value),
                Kind::Rows(list) => self.read_rows(*list, &name, value),
                Kind::GuestType => self.read_guest_type(&name, value),
                Kind::References(list) => self.read_references(*list, &name, value),
                Kind::Virtual => self.read_virtual(&name, value),
            }
        }
    }

    /// What might ask for a mapping is refused: anything in `[devices]`, and whole sections.
    fn unknown_key(
        &mut self,
        section: &str,
        key: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        self.check_ignored_array(value.span().start);
        let (span, key) = (key.span(), key.get_ref());
        let is_section = match value.get_ref() {
            DeValue::Table(_) => true,
            DeValue::Array(array) => array.iter().any(|element| element.get_ref().is_table()),
            _ => false,
        };
        let name = match section {
            "" => key.to_string(),
            section => format!("{section}.{key}"),
        };
        if is_section {
            self.fault(
                span,
                format!(
                    "[{name}] is no section of a format that is read, and might ask for a mapping: \
                     correct it"
                ),
            );
        } else if section == "devices" {
            self.fault(
                span,
                format!(
                    "[devices] {key} is in neither format that is read, and might ask for a mapping: \
                     correct it"
                ),
            );
        } else {
            let message = format!("{name} means nothing here and is left out");
            self.config
                .warnings
                .push(Warning::new(Code::UnknownKey, name, message));
        }
    }

    /// The skeleton of the document has no elements of arrays. Where nobody reads them, they have to
    /// be TOML all the same.
    fn check_ignored_array(&mut self, offset: usize) {
        const KEY: &str = "ignored=";
        let Some(array) = self.arrays.at(offset) else {
            return;
        };
        let text = format!("{KEY}{}", array.as_written());
        let (_, errors) = DeTable::parse_recoverable(&text);
        let moved = errors.iter().map(toml_fault).map(|fault| Fault {
            offset: (offset + fault.offset).saturating_sub(KEY.len()),
            ..fault
        });
        self.faults.extend(moved);
    }

    fn read_number(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<u64> {
        let integer = match value.get_ref() {
            DeValue::Integer(integer) => Integer::parse(integer.as_str(), integer.radix()),
            other => {
                let text = format!("{name} is not a number but of type {}", other.type_str());
                self.fault(value.span(), text);
                return None;
            }
        };
        match integer {
            Integer::Number(number) => return Some(number),
            Integer::Negative => self.fault(value.span(), format!("{name} is negative")),
            Integer::TooLarge => self.fault(value.span(), format!("{name} exceeds 64 bits")),
        }
        None
    }

    fn read_text(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(text.to_string());
        }
        let other = value.get_ref().type_str();
        self.fault(
            value.span(),
            format!("{name} is not a string but of type {other}"),
        );
        None
    }

    fn read_array(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Element<'_, '_>> {
        let array = self.arrays.at(value.span().start);
        if array.is_none() {
            let other = match value.get_ref() {
                DeValue::Array(_) => "an array of tables",
                other => other.type_str(),
            };
            let text = format!("{name} is not an array of values but of type {other}");
            self.fault(value.span(), text);
        }
        array
    }

    fn read_numbers(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        let arrays = self.arrays;
        let Some(array) = arrays.at(value.span().start) else {
            self.read_array(name, value);
            return;
        };
        for (index, element) in array.elements().enumerate() {
            if !matches!(element.node.value, Value::Integer(Integer::Number(_))) {
                let written = element.as_written();
                let offset = element.node.start as usize;
                let text =
                    format!("{name}[{index}] is {written}: write a number from 0 to 2^64 - 1");
                self.faults.push(Fault { offset, text });
            }
        }
    }

    fn read_boolean(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        if value.get_ref().as_bool().is_none() {
            let other = value.get_ref().type_str();
            let text = format!("{name} is neither true nor false but of type {other}");
            self.fault(value.span(), text);
        }
    }

    /// `passthrough` passes the whole tree through.
    fn read_guest_type(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        match value.get_ref().as_str() {
            Some("virtualized") => {}
            Some("passthrough") => {
                let place = Place {
                    list: List::GuestType,
                    index: 0,
                    offset: value.span().start as u32,
                };
                let path = Cow::Borrowed("/");
                self.config.passed.push(PathRow { place, path });
            }
            _ => self.fault(
                value.span(),
                format!("{name} is unknown: write \"virtualized\" or \"passthrough\""),
            ),
        }
    }

    fn read_references(&mut self, list: List, name: &str, value: &Spanned<DeValue<'_>>) {
        let array = self.arrays.at(value.span().start);
        match (array, value.get_ref()) {
            (Some(array), _) => self.references().read_inline(list, &array),
            (None, DeValue::Array(tables)) => self.references().read_tables(list, tables),
            _ => drop(self.read_array(name, value)),
        }
    }

    fn read_virtual(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        let array = self.arrays.at(value.span().start);
        match (array, value.get_ref()) {
            (Some(array), _) => self.references().read_virtual_inline(&array),
            (None, DeValue::Array(tables)) => self.references().read_virtual_tables(tables),
            _ => drop(self.read_array(name, value)),
        }
    }

    fn read_rows(&mut self, list: List, name: &str, value: &Spanned<DeValue<'_>>) {
        let Some(array) = self.arrays.at(value.span().start) else {
            self.read_array(name, value);
            return;
        };
        let mut rows = Rows {
            config: &mut self.config,
            faults: &mut self.faults,
        };
        rows.read(list, &array);
    }
}
