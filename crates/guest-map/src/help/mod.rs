//! What one would otherwise look up in the README, by topic, and the manual page.

mod man;

#[cfg(test)]
mod tests;

use std::fmt::Write;

use clap::CommandFactory;

pub(crate) use man::manual_page;

use crate::cli::Cli;
use crate::problem::Failure;
use crate::warning::Code;

/// A subject of `guest-map help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic {
    Configuration,
    DeviceTrees,
    Modes,
    HostMemory,
    Warnings,
    ExitStatus,
    Registers,
    Json,
    Schema,
}

impl Topic {
    const ALL: [Self; 9] = [
        Self::Configuration,
        Self::DeviceTrees,
        Self::Modes,
        Self::HostMemory,
        Self::Warnings,
        Self::ExitStatus,
        Self::Registers,
        Self::Json,
        Self::Schema,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::DeviceTrees => "device-trees",
            Self::Modes => "modes",
            Self::HostMemory => "host-memory",
            Self::Warnings => "warnings",
            Self::ExitStatus => "exit-status",
            Self::Registers => "registers",
            Self::Json => "json",
            Self::Schema => "schema",
        }
    }

    /// What it is about, in a line.
    const fn summary(self) -> &'static str {
        match self {
            Self::Configuration => "the keys, rows and flags of both formats",
            Self::DeviceTrees => "what a path passes through",
            Self::Modes => "modes and capabilities of each architecture",
            Self::HostMemory => "what the host's memory rules out",
            Self::Warnings => "every warning",
            Self::ExitStatus => "0, 1 and 2",
            Self::Registers => "what decode takes",
            Self::Json => "the output for programs",
            Self::Schema => "the JSON schema of that output",
        }
    }

    /// The topic, and other names that people try.
    fn parse(name: &str) -> Option<Self> {
        let other = match name {
            "dialects" | "config" | "toml" | "flags" => Some(Self::Configuration),
            "device-tree" | "dtb" => Some(Self::DeviceTrees),
            "capabilities" => Some(Self::Modes),
            "warning" => Some(Self::Warnings),
            "status" => Some(Self::ExitStatus),
            _ => None,
        };
        other.or_else(|| Self::ALL.into_iter().find(|topic| topic.name() == name))
    }

    fn text(self) -> String {
        match self {
            Self::Configuration => include_str!("configuration.txt").into(),
            Self::DeviceTrees => include_str!("device-trees.txt").into(),
            Self::Modes => include_str!("modes.txt").into(),
            Self::HostMemory => include_str!("host-memory.txt").into(),
            Self::Warnings => warnings(),
            Self::ExitStatus => include_str!("exit-status.txt").into(),
            Self::Registers => include_str!("registers.txt").into(),
            Self::Json => include_str!("json.txt").into(),
            Self::Schema => include_str!("../report/schema.json").into(),
        }
    }
}

/// What `guest-map help` prints about a topic or a subcommand, or about the tool.
///
/// # Errors
///
/// There is no such topic.
pub(crate) fn help(subject: Option<&str>) -> Result<String, Failure> {
    let mut command = Cli::command();
    command.build();
    let Some(subject) = subject else {
        return Ok(command.render_help().to_string() + &topics());
    };
    if let Some(topic) = Topic::parse(subject) {
        return Ok(topic.text());
    }
    // With its full name in the usage, which `build` gave it.
    if let Some(subcommand) = command.find_subcommand_mut(subject) {
        return Ok(subcommand.render_help().to_string());
    }
    let names = Topic::ALL.map(Topic::name).join(", ");
    Err(Failure::Usage(format!(
        "there is no help on {subject:?}: name a subcommand or one of {names}"
    )))
}

/// The topics, for the end of the help on the tool.
fn topics() -> String {
    let mut text = String::from("\nTopics of guest-map help TOPIC:\n");
    for topic in Topic::ALL {
        let (name, summary) = (topic.name(), topic.summary());
        // A `String` takes everything.
        let _ = writeln!(text, "  {name:13}  {summary}");
    }
    text
}

/// Every warning, with what it means.
fn warnings() -> String {
    let mut text = String::from(
        "A warning does not stop the tool. With --strict it does, unless --allow names\n\
         it. If more than three are of one kind, the first is printed and how many there\n\
         are; --warnings all lists them.\n",
    );
    for code in Code::ALL {
        text += "\n";
        text += code.name();
        text += "\n";
        text += &indented(code.meaning());
    }
    text
}

/// A paragraph of lines of 80 columns, each indented.
fn indented(paragraph: &str) -> String {
    const COLUMNS: usize = 80;
    let mut text = String::from("   ");
    let mut column = 3;
    for word in paragraph.split(' ') {
        if column + 1 + word.len() > COLUMNS {
            text += "\n   ";
            column = 3;
        }
        text += " ";
        text += word;
        column += 1 + word.len();
    }
    text + "\n"
}
