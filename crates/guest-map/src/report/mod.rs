//! A plan on paper: for people, for programs, as a picture.

pub(crate) mod html;
pub(crate) mod json;
mod picture;
pub(crate) mod progress;
pub(crate) mod size;
pub(crate) mod svg;
pub(crate) mod table;
pub(crate) mod words;
pub(crate) mod wrap;

use std::io::{self, Write};

use serde::Serialize;

use crate::cli::TextFormat;
use crate::problem::Failure;

/// What a subcommand answers: JSON by `Serialize`, and text.
pub(crate) trait Answer: Serialize {
    fn write_text(&self, output: &mut impl Write) -> io::Result<()>;

    /// Writes the answer as the command line asks for it.
    fn print(&self, format: TextFormat, output: &mut impl Write) -> Result<(), Failure> {
        match format {
            TextFormat::Text => Ok(self.write_text(output)?),
            TextFormat::Json => json::write_document(self, output),
        }
    }
}
