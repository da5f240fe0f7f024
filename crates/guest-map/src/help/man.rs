//! The manual page, in the language of troff.

use clap::CommandFactory;
use clap::builder::Resettable;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::Topic;
use crate::cli::Cli;
use crate::problem::Failure;

/// The page of the tool with all topics, or that of a subcommand.
///
/// # Errors
///
/// There is no such subcommand.
pub(crate) fn manual_page(subcommand: Option<&str>) -> Result<Vec<u8>, Failure> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    let Some(name) = subcommand else {
        // The page has the topics themselves.
        let command = command.after_help(Resettable::Reset);
        Man::new(command).render(&mut page)?;
        topics(&mut page)?;
        return Ok(page);
    };
    let found = command.find_subcommand(name).cloned();
    let found = found.ok_or_else(|| Failure::Usage(format!("there is no subcommand {name:?}")))?;
    // `build` named it guest-map-plan, as pages are.
    let version = concat!("guest-map ", env!("CARGO_PKG_VERSION"));
    Man::new(found).source(version).render(&mut page)?;
    Ok(page)
}

/// One section for each topic that is prose, laid out as it is in a terminal.
fn topics(page: &mut Vec<u8>) -> Result<(), Failure> {
    for topic in Topic::ALL
        .into_iter()
        .filter(|topic| *topic != Topic::Schema)
    {
        let mut roff = Roff::new();
        let heading = topic.name().replace('-', " ").to_uppercase();
        roff.control("SH", [heading.as_str()]);
        roff.control("nf", []);
        for line in topic.text().lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
        roff.to_writer(page)?;
    }
    Ok(())
}
