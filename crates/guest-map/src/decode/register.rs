//! A register or an entry, taken apart into its fields.

use std::borrow::Cow;

use serde::Serialize;

use crate::report::json::Hexadecimal;

/// A value with its fields, from the highest bit down. The fields cover every bit once.
#[derive(Debug, Serialize)]
pub(crate) struct Register {
    /// As the manual calls it.
    pub(crate) name: &'static str,
    pub(crate) value: Hexadecimal,
    /// The manual and its section.
    pub(crate) manual: &'static str,
    pub(crate) fields: Vec<Field>,
}

/// `value[high:low]`.
#[derive(Debug, Serialize)]
pub(crate) struct Field {
    pub(crate) high: u8,
    pub(crate) low: u8,
    /// As the manual calls it; empty for bits without a name.
    pub(crate) name: &'static str,
    pub(crate) value: Hexadecimal,
    pub(crate) meaning: Cow<'static, str>,
    /// Whether text leaves the field out: bits that are 0 as they should, or that mean nothing.
    #[serde(skip)]
    pub(crate) is_dull: bool,
}

impl Register {
    pub(super) const fn new(name: &'static str, value: u64, manual: &'static str) -> Self {
        Self {
            name,
            value: Hexadecimal(value),
            manual,
            fields: Vec::new(),
        }
    }

    /// `value[high:low]`, and what `meaning` makes of the number.
    pub(super) fn field<M: Into<Cow<'static, str>>>(
        self,
        high: u8,
        low: u8,
        name: &'static str,
        meaning: impl FnOnce(u64) -> M,
    ) -> Self {
        let number = bits(self.value.0, high, low);
        self.push([high, low], name, meaning(number).into(), false)
    }

    /// One bit.
    pub(super) fn flag(
        self,
        bit: u8,
        name: &'static str,
        set: &'static str,
        clear: &'static str,
    ) -> Self {
        self.field(bit, bit, name, |value| if value == 1 { set } else { clear })
    }

    /// One bit that matters only where it is set.
    pub(super) fn feature(self, bit: u8, name: &'static str, set: &'static str) -> Self {
        let is_clear = bits(self.value.0, bit, bit) == 0;
        let meaning = if is_clear { "not set" } else { set };
        self.push([bit, bit], name, meaning.into(), is_clear)
    }

    /// Bits that have to be 0.
    pub(super) fn reserved(self, high: u8, low: u8) -> Self {
        let is_clear = bits(self.value.0, high, low) == 0;
        let meaning = match is_clear {
            true => "reserved",
            false => "reserved: has to be 0",
        };
        self.push([high, low], "", meaning.into(), is_clear)
    }

    /// Bits that hardware ignores here.
    pub(super) fn ignored(self, high: u8, low: u8) -> Self {
        let is_clear = bits(self.value.0, high, low) == 0;
        self.push(
            [high, low],
            "",
            "ignored, free for software".into(),
            is_clear,
        )
    }

    fn push(
        mut self,
        [high, low]: [u8; 2],
        name: &'static str,
        meaning: Cow<'static, str>,
        is_dull: bool,
    ) -> Self {
        self.fields.push(Field {
            high,
            low,
            name,
            value: Hexadecimal(bits(self.value.0, high, low)),
            meaning,
            is_dull,
        });
        self
    }
}

/// `value[high:low]` as a number; both are at most 63.
pub(super) const fn bits(value: u64, high: u8, low: u8) -> u64 {
    (value & mask(high, low)) >> low
}

/// The bits `high` down to `low`, both included and at most 63.
pub(super) const fn mask(high: u8, low: u8) -> u64 {
    (u64::MAX << low) & (u64::MAX >> (63 - high))
}
