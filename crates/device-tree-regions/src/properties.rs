//! The properties that decide what a node contributes.

use crate::cells::{self, Cells};
use crate::dependency::DependencyKind;
use crate::region::{IgnoredReason, Property};
use crate::token::{Token, Tokens};

/// The values of one node. Of properties with the same name the first counts, as in Linux.
pub(crate) struct Properties<'a> {
    /// Before the first property.
    tokens: Tokens<'a>,
    status: Option<&'a [u8]>,
    device_type: Option<&'a [u8]>,
    address_cells: Option<&'a [u8]>,
    size_cells: Option<&'a [u8]>,
    pub(crate) reg: Option<&'a [u8]>,
    pub(crate) assigned_addresses: Option<&'a [u8]>,
    pub(crate) ranges: Option<&'a [u8]>,
    pub(crate) interrupt_parent: Option<&'a [u8]>,
}

impl<'a> Properties<'a> {
    /// Reads the properties that `tokens` is before, and leaves it after them.
    pub(crate) fn read(tokens: &mut Tokens<'a>) -> Self {
        let mut properties = Self {
            tokens: *tokens,
            status: None,
            device_type: None,
            address_cells: None,
            size_cells: None,
            reg: None,
            assigned_addresses: None,
            ranges: None,
            interrupt_parent: None,
        };
        let mut ahead = *tokens;
        while let Ok(token) = ahead.read() {
            match token {
                Token::Property { name, value } => properties.add(name, value),
                Token::Nop => {}
                _ => break,
            }
            *tokens = ahead;
        }
        properties
    }

    fn add(&mut self, name: &[u8], value: &'a [u8]) {
        let slots = [
            (Property::Status, &mut self.status),
            (Property::DeviceType, &mut self.device_type),
            (Property::AddressCells, &mut self.address_cells),
            (Property::SizeCells, &mut self.size_cells),
            (Property::Reg, &mut self.reg),
            (Property::AssignedAddresses, &mut self.assigned_addresses),
            (Property::Ranges, &mut self.ranges),
        ];
        if has_name(name, DependencyKind::InterruptParent.property()) {
            self.interrupt_parent.get_or_insert(value);
        }
        for (property, slot) in slots {
            if has_name(name, property.name()) {
                slot.get_or_insert(value);
            }
        }
    }

    /// The value of any property of the node.
    pub(crate) fn value_of(&self, wanted: &str) -> Option<&'a [u8]> {
        let mut tokens = self.tokens;
        while let Ok(token) = tokens.read() {
            match token {
                Token::Property { name, value } if has_name(name, wanted) => return Some(value),
                Token::Property { .. } | Token::Nop => {}
                _ => break,
            }
        }
        None
    }

    /// Whether `status` is absent, `ok` or `okay`.
    pub(crate) fn is_enabled(&self) -> bool {
        self.status
            .is_none_or(|status| matches!(text(status), b"ok" | b"okay"))
    }

    pub(crate) fn device_type(&self) -> &'a [u8] {
        text(self.device_type.unwrap_or_default())
    }

    pub(crate) fn cells(&self) -> Cells {
        let count = |value: Option<_>| value.and_then(cells::read_count);
        Cells {
            address: count(self.address_cells).unwrap_or(Cells::DEFAULT.address),
            size: count(self.size_cells).unwrap_or(Cells::DEFAULT.size),
        }
    }

    /// The properties whose values are not of their type, those with addresses aside.
    pub(crate) fn malformed(&self) -> impl Iterator<Item = (Property, IgnoredReason)> {
        let strings = [
            (Property::Status, self.status),
            (Property::DeviceType, self.device_type),
        ];
        let counts = [
            (Property::AddressCells, self.address_cells),
            (Property::SizeCells, self.size_cells),
        ];
        let strings = strings
            .into_iter()
            .filter(|(_, value)| value.is_some_and(|value| value.last() != Some(&0)))
            .map(|(property, _)| (property, IgnoredReason::NotAString));
        let counts = counts.into_iter().filter_map(|(property, value)| {
            let bytes = value?.len();
            (bytes != 4).then_some((property, IgnoredReason::NotOneCell { bytes }))
        });
        strings.chain(counts)
    }
}

/// Whether the strings block continues with this name and its NUL.
fn has_name(strings: &[u8], name: &str) -> bool {
    strings
        .strip_prefix(name.as_bytes())
        .is_some_and(|rest| rest.first() == Some(&0))
}

/// The first string of a value, without its NUL.
pub(crate) fn text(value: &[u8]) -> &[u8] {
    strings(value).next().unwrap_or_default()
}

/// The strings of a string list. An empty last one stands for the end of the value.
pub(crate) fn strings(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == 0)
}
