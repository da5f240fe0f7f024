//! The arrays of a TOML document, as one flat list.
//!
//! A configuration is a few keys and arrays that may have a hundred thousand rows. A tree of values
//! would take most of the tool's memory, so the elements of arrays are pushed into a list as the
//! parser meets them, and strings are borrowed from the file.

use std::borrow::Cow;

use toml_parser::decoder::{Encoding, IntegerRadix, ScalarKind, StringBuilder};
use toml_parser::parser::{EventReceiver, RecursionGuard, ValidateWhitespace, parse_document};
use toml_parser::{ErrorSink, ParseError, Raw, Source, Span};

/// How deep arrays may nest: as deep as in any other TOML file.
const MAX_DEPTH: u32 = 80;

/// One element. What an array contains follows it in the list.
#[derive(Debug)]
pub(crate) struct Node<'i> {
    /// The offset of the element's first byte in the file.
    pub(crate) start: u32,
    /// The offset of the byte after its last.
    pub(crate) end: u32,
    pub(crate) value: Value<'i>,
}

/// What an element is.
#[derive(Debug)]
pub(crate) enum Value<'i> {
    Integer(Integer),
    Text(Cow<'i, str>),
    /// With the position in the list after its last element.
    Array(u32),
    /// The same, of a table that is written in an array. Its keys stand among its values.
    Table(u32),
    /// A key of a table, or a part of one with dots.
    Key(Cow<'i, str>),
    Float,
    Boolean,
    Datetime,
}

/// A TOML integer of any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Integer {
    Number(u64),
    Negative,
    /// More than 64 bits.
    TooLarge,
}

impl Integer {
    /// Digits without underscores and without the prefix of the radix, as TOML has them.
    pub(crate) fn parse(digits: &str, radix: u32) -> Self {
        match (u64::from_str_radix(digits, radix), digits.strip_prefix('-')) {
            (Ok(number), _) => Self::Number(number),
            (Err(_), Some(zero)) if zero.bytes().all(|digit| digit == b'0') => Self::Number(0),
            (Err(_), Some(_)) => Self::Negative,
            (Err(_), None) => Self::TooLarge,
        }
    }
}

/// Every array of a document with its elements, in the order of the file.
#[derive(Debug)]
pub(crate) struct Arrays<'i> {
    text: &'i str,
    nodes: Vec<Node<'i>>,
    /// The positions of the arrays and tables that the parser is in.
    open: Vec<usize>,
    /// The digits of a number with underscores.
    digits: Digits,
}

impl<'i> Arrays<'i> {
    /// Reads the arrays of `text`, which is shorter than 4 GiB.
    ///
    /// # Errors
    ///
    /// The faults of the syntax. Which keys there are is not looked at.
    pub(crate) fn parse(text: &'i str) -> Result<Self, Vec<ParseError>> {
        let source = Source::new(text);
        let tokens = source.lex().into_vec();
        let mut arrays = Self {
            text,
            nodes: Vec::new(),
            open: Vec::new(),
            digits: Digits::default(),
        };
        let mut errors = Vec::new();
        let mut receiver = ValidateWhitespace::new(&mut arrays, source);
        let mut receiver = RecursionGuard::new(&mut receiver, MAX_DEPTH);
        parse_document(&tokens, &mut receiver, &mut errors);
        match errors.is_empty() {
            true => Ok(arrays),
            false => Err(errors),
        }
    }

    /// The document with every outermost array emptied: the elements are overwritten by spaces, so
    /// that all else stays where it was.
    pub(crate) fn skeleton(&self) -> String {
        let mut skeleton = String::with_capacity(self.text.len());
        for array in self.outermost() {
            let (open, close) = (array.node.start as usize + 1, array.node.end as usize - 1);
            let kept = self.text.get(skeleton.len()..open).unwrap_or_default();
            skeleton.push_str(kept);
            skeleton.extend(std::iter::repeat_n(' ', close.saturating_sub(open)));
        }
        skeleton.push_str(self.text.get(skeleton.len()..).unwrap_or_default());
        skeleton
    }

    /// The outermost array that begins at `offset`.
    pub(crate) fn at(&self, offset: usize) -> Option<Element<'_, 'i>> {
        self.outermost()
            .find(|array| array.node.start as usize == offset)
    }

    fn outermost(&self) -> Elements<'_, 'i> {
        Elements {
            arrays: self,
            next: 0,
            end: self.nodes.len(),
        }
    }

    fn push(&mut self, span: Span, value: Value<'i>) {
        // The text is shorter than 4 GiB, so no offset is cut off.
        let (start, end) = (span.start() as u32, span.end() as u32);
        self.nodes.push(Node { start, end, value });
    }

    fn close(&mut self, span: Span) {
        let end = self.nodes.len() as u32;
        let open = self.open.pop();
        if let Some(node) = open.and_then(|position| self.nodes.get_mut(position)) {
            node.end = span.end() as u32;
            if let Value::Array(rest) | Value::Table(rest) = &mut node.value {
                *rest = end;
            }
        }
    }

    fn decode(
        &mut self,
        span: Span,
        encoding: Option<Encoding>,
        errors: &mut dyn ErrorSink,
    ) -> Value<'i> {
        let text = self.text.get(span.start()..span.end()).unwrap_or_default();
        let raw = Raw::new_unchecked(text, encoding, span);
        if encoding.is_some() {
            let mut decoded = Cow::Borrowed("");
            // It can only be a string.
            let _ = raw.decode_scalar(&mut decoded, errors);
            return Value::Text(decoded);
        }
        match raw.decode_scalar(&mut self.digits, errors) {
            ScalarKind::Integer(radix) => {
                // Wrong digits are reported by the decoder; none at all are not.
                if self.digits.0.is_empty() && text.len() == 2 {
                    let error = ParseError::new("a number without digits");
                    errors.report_error(error.with_unexpected(span));
                }
                Value::Integer(self.digits.integer(radix))
            }
            ScalarKind::String => Value::Text(Cow::Borrowed(text)),
            ScalarKind::Float => Value::Float,
            ScalarKind::Boolean(_) => Value::Boolean,
            ScalarKind::DateTime => Value::Datetime,
        }
    }
}

impl EventReceiver for Arrays<'_> {
    fn array_open(&mut self, span: Span, _: &mut dyn ErrorSink) -> bool {
        self.open.push(self.nodes.len());
        self.push(span, Value::Array(0));
        true
    }

    fn array_close(&mut self, span: Span, _: &mut dyn ErrorSink) {
        self.close(span);
    }

    fn inline_table_open(&mut self, span: Span, _: &mut dyn ErrorSink) -> bool {
        if !self.open.is_empty() {
            self.open.push(self.nodes.len());
            self.push(span, Value::Table(0));
        }
        true
    }

    fn inline_table_close(&mut self, span: Span, _: &mut dyn ErrorSink) {
        let open = self.open.last().and_then(|&open| self.nodes.get(open));
        if open.is_some_and(|node| matches!(node.value, Value::Table(_))) {
            self.close(span);
        }
    }

    fn simple_key(&mut self, span: Span, encoding: Option<Encoding>, errors: &mut dyn ErrorSink) {
        let open = self.open.last().and_then(|&open| self.nodes.get(open));
        if open.is_some_and(|node| matches!(node.value, Value::Table(_))) {
            let text = self.text.get(span.start()..span.end()).unwrap_or_default();
            let mut key = Cow::Borrowed("");
            Raw::new_unchecked(text, encoding, span).decode_key(&mut key, errors);
            self.push(span, Value::Key(key));
        }
    }

    fn scalar(&mut self, span: Span, encoding: Option<Encoding>, errors: &mut dyn ErrorSink) {
        let value = self.decode(span, encoding, errors);
        if !self.open.is_empty() {
            self.push(span, value);
        }
    }
}

/// A buffer that is used again for every number.
#[derive(Debug, Default)]
struct Digits(String);

impl Digits {
    fn integer(&self, radix: IntegerRadix) -> Integer {
        Integer::parse(&self.0, radix.value())
    }
}

impl StringBuilder<'_> for Digits {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn push_str(&mut self, digits: &str) -> bool {
        self.0.push_str(digits);
        true
    }

    fn push_char(&mut self, digit: char) -> bool {
        self.0.push(digit);
        true
    }
}

/// An element with what it contains.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'n, 'i> {
    arrays: &'n Arrays<'i>,
    pub(crate) node: &'n Node<'i>,
    position: usize,
}

impl<'n, 'i> Element<'n, 'i> {
    /// The elements of an array, or the keys and values of a table in turn; none of anything else.
    pub(crate) fn elements(&self) -> Elements<'n, 'i> {
        let end = match self.node.value {
            Value::Array(end) | Value::Table(end) => end as usize,
            _ => 0,
        };
        Elements {
            arrays: self.arrays,
            next: self.position + 1,
            end,
        }
    }

    /// The element as it is written.
    pub(crate) fn as_written(&self) -> &'i str {
        let (start, end) = (self.node.start as usize, self.node.end as usize);
        self.arrays.text.get(start..end).unwrap_or_default()
    }

    /// What the element is, for messages.
    pub(crate) const fn type_name(&self) -> &'static str {
        match self.node.value {
            Value::Integer(_) => "a number",
            Value::Text(_) => "a string",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
            Value::Key(_) => "a key",
            Value::Float => "a float",
            Value::Boolean => "a boolean",
            Value::Datetime => "a date",
        }
    }
}

/// Elements that stand side by side.
#[derive(Clone, Debug)]
pub(crate) struct Elements<'n, 'i> {
    arrays: &'n Arrays<'i>,
    next: usize,
    end: usize,
}

impl<'n, 'i> Iterator for Elements<'n, 'i> {
    type Item = Element<'n, 'i>;

    fn next(&mut self) -> Option<Self::Item> {
        let position = self.next;
        let node = self
            .arrays
            .nodes
            .get(position)
            .filter(|_| position < self.end)?;
        self.next = match node.value {
            Value::Array(end) | Value::Table(end) => end as usize,
            _ => position + 1,
        };
        Some(Element {
            arrays: self.arrays,
            node,
            position,
        })
    }
}
