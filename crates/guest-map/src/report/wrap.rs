//! Words, broken into lines.

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
}

impl<'o, W: Write> Paragraph<'o, W> {
    /// Begins a line with `text`.
    pub(crate) fn new(output: &'o mut W, text: &str) -> io::Result<Self> {
        output.write_all(text.as_bytes())?;
        let column = width(text);
        Ok(Self { output, column })
    }

    /// Writes `between`, then `text` in this line or in the next.
    pub(crate) fn add(&mut self, between: &str, text: &str) -> io::Result<()> {
        let text = printable(text);
        let width = width(&text);
        let space = between.len() + 1;
        self.output.write_all(between.as_bytes())?;
        // One more column, in case a comma follows.
        if self.column + space + width < COLUMNS {
            self.output.write_all(b" ")?;
            self.column += space + width;
        } else {
            self.output.write_all(b"\n")?;
            self.output.write_all(INDENT.as_bytes())?;
            self.column = INDENT.len() + width;
        }
        self.output.write_all(text.as_bytes())
    }

    /// Ends the last line.
    pub(crate) fn end(self) -> io::Result<()> {
        self.output.write_all(b"\n")
    }
}

fn width(text: &str) -> usize {
    match text.is_ascii() {
        true => text.len(),
        false => text.chars().count(),
    }
}
