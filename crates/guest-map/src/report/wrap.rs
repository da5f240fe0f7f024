//! Words, broken into lines.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::printable::printable;

/// How long a line may be.
const COLUMNS: usize = 80;
/// What stands before the first word of a line.
pub(crate) const INDENT: &str = "    ";

/// One paragraph. Lines after the first are indented.
#[derive(Debug)]
pub(crate) struct Paragraph<'o, W> {
    output: &'o mut W,
    /// How many characters the line has.
    column: usize,
    /// How many spaces lines after the first begin with.
    indent: usize,
}

impl<'o, W: Write> Paragraph<'o, W> {
    /// Begins a line with `text`.
    pub(crate) fn new(output: &'o mut W, text: &str) -> io::Result<Self> {
        output.write_all(text.as_bytes())?;
        let column = width(text);
        let indent = INDENT.len();
        Ok(Self {
            output,
            column,
            indent,
        })
    }

    /// Writes a whole paragraph.
    pub(crate) fn write(text: &str, output: &'o mut W) -> io::Result<()> {
        let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut paragraph = Self::new(output, &printable(first))?;
        if !rest.is_empty() {
            paragraph.add_words(rest)?;
        }
        paragraph.end()
    }

    /// Begins a line with `text`; the others begin below its end.
    pub(crate) fn hanging(output: &'o mut W, text: &str) -> io::Result<Self> {
        let indent = (width(text) + 1).min(COLUMNS / 2);
        Self::new(output, text).map(|paragraph| Self {
            indent,
            ..paragraph
        })
    }

    /// Writes `between`, then `text` in this line or in the next.
    pub(crate) fn add(&mut self, between: &str, text: &str) -> io::Result<()> {
        let text = shortened(printable(text), COLUMNS - self.indent - 1);
        let width = width(&text);
        let space = between.len() + 1;
        self.output.write_all(between.as_bytes())?;
        // One more column, in case a comma follows.
        if self.column + space + width < COLUMNS {
            self.output.write_all(b" ")?;
            self.column += space + width;
        } else {
            let indent = self.indent;
            write!(self.output, "\n{:indent$}", "")?;
            self.column = indent + width;
        }
        self.output.write_all(text.as_bytes())
    }

    /// Adds the words of `text`, with nothing but spaces between.
    pub(crate) fn add_words(&mut self, text: &str) -> io::Result<()> {
        text.split(' ').try_for_each(|word| self.add("", word))
    }

    /// Ends the last line.
    pub(crate) fn end(self) -> io::Result<()> {
        self.output.write_all(b"\n")
    }
}

/// `text` with its middle left out where it is wider than a line: long paths, whose last name tells most.
fn shortened(text: Cow<'_, str>, columns: usize) -> Cow<'_, str> {
    const GAP: &str = "...";
    let length = width(&text);
    if length <= columns || !text.contains('/') {
        return text;
    }
    let head = columns / 3;
    let tail = columns - head - GAP.len();
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{start}{GAP}{end}").into()
}

fn width(text: &str) -> usize {
    match text.is_ascii() {
        true => text.len(),
        false => text.chars().count(),
    }
}
