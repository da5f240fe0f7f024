//! What axvmconfig 0.8 has in `[devices]`: references to physical devices, and virtual devices.

use std::borrow::Cow;
use std::collections::HashSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::arrays::{Element, Value};
use super::{Config, List, PathRow, Place, VirtualDevice};
use crate::problem::Fault;
use crate::warning::{Code, Warning};

/// Options that would place a virtual device, which axvmconfig refuses too
/// (`VirtualDeviceRequest::validate`).
const PLACEMENTS: [&str; 6] = [
    "base_gpa",
    "base_hpa",
    "legacy_base_gpa",
    "legacy_length",
    "mmio_base",
    "pio_base",
];

/// Adds references and virtual devices to a configuration.
pub(super) struct References<'r, 'i> {
    pub(super) config: &'r mut Config<'i>,
    pub(super) faults: &'r mut Vec<Fault>,
}

impl<'i> References<'_, 'i> {
    /// `[{ path = "/..." }]`
    pub(super) fn read_inline(&mut self, list: List, array: &Element<'_, 'i>) {
        for (index, element) in (0..).zip(array.elements()) {
            let offset = element.node.start;
            let place = Place {
                list,
                index,
                offset,
            };
            let mut parts = element.elements().map(|part| &part.node.value);
            match (
                &element.node.value,
                parts.next(),
                parts.next(),
                parts.next(),
            ) {
                (Value::Table(_), Some(Value::Key(key)), Some(Value::Text(path)), None)
                    if key == "path" =>
                {
                    self.add(place, path.clone());
                }
                _ => {
                    let written = element.as_written();
                    self.no_reference(place, written);
                }
            }
        }
    }

    /// `[[devices.passthrough]]`, each with `path`.
    pub(super) fn read_tables(&mut self, list: List, tables: &[Spanned<DeValue<'_>>]) {
        for (index, table) in (0..).zip(tables) {
            let place = Place {
                list,
                index,
                offset: table.span().start as u32,
            };
            match table.get_ref() {
                DeValue::Table(table) if table.len() == 1 => match path_of(table) {
                    Some(path) => self.add(place, Cow::Owned(path)),
                    None => self.no_reference(place, "a table without the string path"),
                },
                _ => self.no_reference(place, "a table with other keys than path"),
            }
        }
    }

    fn add(&mut self, place: Place, path: Cow<'i, str>) {
        if path == "/" {
            let advice = match place.list {
                List::Passthrough => "write [base] guest_type = \"passthrough\" for all of it",
                _ => "write [base] guest_type = \"virtualized\" for nothing of it",
            };
            return self.fault(place, format!("{place} is the whole tree: {advice}"));
        }
        let rows = match place.list {
            List::Disabled => &mut self.config.excluded,
            _ => &mut self.config.passed,
        };
        rows.push(PathRow { place, path });
    }

    fn no_reference(&mut self, place: Place, written: &str) {
        let text = format!("{place} is {written}: write {{ path = \"/device/tree/path\" }}");
        self.fault(place, text);
    }

    fn fault(&mut self, place: Place, text: String) {
        let offset = place.offset as usize;
        self.faults.push(Fault { offset, text });
    }

    /// Every path that is in both lists.
    pub(super) fn check_conflicts(&mut self) {
        let config = &*self.config;
        let disabled: HashSet<&str> = config
            .excluded
            .iter()
            .map(|row| row.path.as_ref())
            .collect();
        let both = config.passed.iter().filter(|row| {
            row.place.list == List::Passthrough && disabled.contains(row.path.as_ref())
        });
        let faults = both.map(|PathRow { place, path }| Fault {
            offset: place.offset as usize,
            text: format!("{place}: {path:?} is in [devices] disabled too: remove one"),
        });
        self.faults.extend(faults);
    }

    /// `[[devices.virtual]]`
    pub(super) fn read_virtual_tables(&mut self, tables: &[Spanned<DeValue<'_>>]) {
        for (index, value) in tables.iter().enumerate() {
            let offset = value.span().start;
            let DeValue::Table(table) = value.get_ref() else {
                self.no_virtual_device(index, offset);
                continue;
            };
            let option = table
                .keys()
                .find(|key| PLACEMENTS.contains(&key.get_ref().as_ref()));
            let option = option.map(|key| key.get_ref().to_string());
            let text = |key| Some(table.get(key)?.get_ref().as_str()?.to_owned());
            self.add_virtual(index, offset, text("id").zip(text("model")), option);
        }
    }

    /// `virtual = [{ id = "...", model = "..." }]`
    pub(super) fn read_virtual_inline(&mut self, array: &Element<'_, 'i>) {
        for (index, element) in array.elements().enumerate() {
            let mut parts = element.elements().map(|part| &part.node.value);
            let (mut id, mut model, mut option) = (None, None, None);
            while let Some(part) = parts.next() {
                let Value::Key(key) = part else { continue };
                match (key.as_ref(), parts.next()) {
                    ("id", Some(Value::Text(text))) => id = Some(text.to_string()),
                    ("model", Some(Value::Text(text))) => model = Some(text.to_string()),
                    (key, _) if PLACEMENTS.contains(&key) => option = Some(key.to_owned()),
                    _ => {}
                }
            }
            let offset = element.node.start as usize;
            self.add_virtual(index, offset, id.zip(model), option);
        }
    }

    fn add_virtual(
        &mut self,
        index: usize,
        offset: usize,
        device: Option<(String, String)>,
        placement: Option<String>,
    ) {
        let Some((id, model)) = device else {
            return self.no_virtual_device(index, offset);
        };
        if let Some(option) = placement {
            let text = format!(
                "virtual[{index}] {id:?}: {option} is not for configurations: the hypervisor's machine \
                 profile places virtual devices; remove it"
            );
            self.faults.push(Fault { offset, text });
        }
        if self
            .config
            .virtual_devices
            .iter()
            .any(|known| known.id == id)
        {
            let text =
                format!("virtual[{index}]: there is another virtual device {id:?}: rename one");
            self.faults.push(Fault { offset, text });
        }
        let message = format!(
            "virtual[{index}]: the hypervisor's machine profile places {id} ({model}): where it traps \
             is not known here, and nothing is checked against it"
        );
        let warning = Warning::new(Code::VirtualDeviceUnplaced, id.as_str(), message);
        self.config.warnings.push(warning);
        self.config
            .virtual_devices
            .push(VirtualDevice { id, model });
    }

    fn no_virtual_device(&mut self, index: usize, offset: usize) {
        let text = format!("virtual[{index}] has no string id or model: add both");
        self.faults.push(Fault { offset, text });
    }
}

fn path_of(table: &DeTable<'_>) -> Option<String> {
    Some(table.get("path")?.get_ref().as_str()?.to_owned())
}
