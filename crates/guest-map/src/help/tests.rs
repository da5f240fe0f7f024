//! Help is whole, and fits a terminal.

use std::fs;
use std::path::Path;

use clap::CommandFactory;

use super::{Topic, help, manual_page, warnings};
use crate::cli::Cli;
use crate::warning::Code;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

#[test]
fn every_warning_has_its_entry_in_help_and_readme() {
    let (help, readme) = (warnings(), readme());
    for code in Code::ALL {
        let name = code.name();
        assert!(help.contains(&format!("\n{name}\n    ")), "{name}\n{help}");
        assert!(readme.contains(&format!("\n| `{name}` | ")), "{name}");
    }
}

#[test]
fn every_exit_status_has_its_entry_in_help_and_readme() {
    let (help, readme) = (Topic::ExitStatus.text(), readme());
    for status in ["0", "1", "2"] {
        assert!(help.lines().any(|line| line == status), "{status}\n{help}");
        assert!(readme.contains(&format!("\n| {status} | ")), "{status}");
    }
}

#[test]
fn every_topic_is_found_listed_and_fits_80_columns() {
    let overview = help(None).unwrap();
    for topic in Topic::ALL {
        let text = help(Some(topic.name())).unwrap();
        assert_eq!(text, topic.text());
        assert!(overview.contains(topic.name()), "{overview}");
        // Of the schema, people see the definition that they search for.
        if topic != Topic::Schema {
            let long = text.lines().find(|line| line.len() > 80);
            assert_eq!(long, None);
        }
    }
    assert!(help(Some("nonsense")).is_err());
}

#[test]
fn every_subcommand_has_help_and_a_manual_page() {
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        let text = help(Some(name)).unwrap();
        assert!(text.contains(&format!("Usage: guest-map {name}")), "{text}");
        let long = text.lines().find(|line| line.len() > 80);
        assert_eq!(long, None, "{name}");
        let page = String::from_utf8(manual_page(Some(name)).unwrap()).unwrap();
        assert!(page.contains(&format!(".TH guest-map-{name} 1")), "{page}");
    }
    assert!(manual_page(Some("nonsense")).is_err());
}

/// The page of the tool has what the README has.
#[test]
fn the_manual_page_has_every_topic() {
    let page = String::from_utf8(manual_page(None).unwrap()).unwrap();
    for heading in [".SH CONFIGURATION", ".SH \"EXIT STATUS\"", ".SH WARNINGS"] {
        assert!(page.contains(heading), "{heading}");
    }
    for code in Code::ALL {
        // troff writes a hyphen-minus with a backslash.
        assert!(
            page.contains(&code.name().replace('-', "\\-")),
            "{}",
            code.name()
        );
    }
}
