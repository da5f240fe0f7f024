//! What was decoded, for people.

use std::io::{self, Write};

use super::register::{Field, Register};
use super::{Decoded, Fault};
use crate::report::Answer;
use crate::report::wrap::Paragraph;

impl Answer for Decoded<'_, '_> {
    /// What the registers say together, then each of them, then what a configuration has at the address.
    fn write_text(&self, output: &mut impl Write) -> io::Result<()> {
        for fault in &self.faults {
            write_fault(fault, output)?;
        }
        for verdict in &self.verdicts {
            Paragraph::write(&format!("{}: {}.", verdict.about, verdict.text), output)?;
        }
        let is_first = self.faults.is_empty() && self.verdicts.is_empty();
        for (position, register) in self.registers.iter().enumerate() {
            if position > 0 || !is_first {
                writeln!(output)?;
            }
            write_register(register, output)?;
        }
        match (&self.explanation, self.address()) {
            (Some(explanation), _) => {
                writeln!(output)?;
                explanation.write_text(output)
            }
            (None, Some(address)) => writeln!(
                output,
                "\nWhich entry maps it: guest-map explain CONFIG.toml {address:#x}"
            ),
            (None, None) => Ok(()),
        }
    }
}

fn write_fault(fault: &Fault, output: &mut impl Write) -> io::Result<()> {
    Paragraph::write(&fault.sentence(), output)?;
    fault
        .notes
        .iter()
        .try_for_each(|note| Paragraph::write(note, output))
}

fn write_register(register: &Register, output: &mut impl Write) -> io::Result<()> {
    let value = register.value.0;
    let mut paragraph = Paragraph::new(output, &format!("{} = {value:#x}", register.name))?;
    paragraph.add_words(&format!("({})", register.manual))?;
    paragraph.end()?;
    let told = || register.fields.iter().filter(|field| !field.is_dull);
    let width = |of: fn(&Field) -> usize| told().map(of).max().unwrap_or_default();
    let (place, name, number) = (
        width(|field| place(field).len()),
        width(|field| field.name.len()),
        width(|field| number(field).len()),
    );
    for field in told() {
        write_field(field, [place, name, number], output)?;
    }
    Ok(())
}

/// In columns; what is wrapped goes on in the last one.
fn write_field(field: &Field, widths: [usize; 3], output: &mut impl Write) -> io::Result<()> {
    let [place_width, name_width, number_width] = widths;
    let place = format!("  {:place_width$} ", place(field));
    let name = match name_width {
        0 => String::new(),
        _ => format!(" {:name_width$} ", field.name),
    };
    let columns = format!("{place}{name} {:number_width$} ", number(field));
    let mut paragraph = Paragraph::hanging(output, &columns)?;
    paragraph.add_words(&field.meaning)?;
    paragraph.end()
}

fn place(field: &Field) -> String {
    match field.high == field.low {
        true => field.low.to_string(),
        false => format!("{}:{}", field.high, field.low),
    }
}

/// Decimal where that is the same.
fn number(field: &Field) -> String {
    match field.value.0 {
        value @ 0..10 => value.to_string(),
        value => format!("{value:#x}"),
    }
}
