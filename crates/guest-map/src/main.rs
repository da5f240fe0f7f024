#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod architecture;
mod build;
mod capabilities;
mod check;
mod cli;
mod config;
mod decode;
mod describe;
mod device_tree;
mod diff;
mod dump;
mod excluded;
mod explain;
mod hardware_walk;
mod host;
mod host_memory;
mod idle;
mod init;
mod loads;
mod near;
mod plan;
mod printable;
mod problem;
mod report;
mod request;
mod session;
mod sharing;
mod translate;
mod warning;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::slice;

use clap::Parser;

use crate::cli::{Cli, Command, Options, OutputFormat, TextFormat};
use crate::decode::Tables;
use crate::problem::Failure;
use crate::session::{Machine, with_machines, with_tree};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut output = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let result = run(&cli.command, &mut output);
    let result = result.and_then(|()| Ok(output.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.report(&mut io::stderr().lock())),
    }
}

fn run(command: &Command, output: &mut impl Write) -> Result<(), Failure> {
    match command {
        Command::Plan {
            config,
            options,
            format,
        } => with_machine(config, options, |machine| {
            let planned = &machine.planned;
            match format {
                OutputFormat::Table => Ok(report::table::write(planned, options, output)?),
                OutputFormat::Json => report::json::write(planned, output),
                OutputFormat::Svg => Ok(report::svg::write(planned, output)?),
                OutputFormat::Html => report::html::write(machine, options, output),
            }
        }),
        Command::Check { configs, options } => with_machines(configs, options, |machines| {
            check::check(machines, options, output)
        }),
        Command::Translate {
            config,
            gpa,
            options,
        } => with_machine(config, options, |machine| {
            translate::translate(machine, *gpa, output)
        }),
        Command::Explain {
            config,
            gpa,
            host,
            options,
        } => with_machine(config, options, |machine| match (host, gpa) {
            (Some(host), _) => explain::explain_host(machine, *host, output),
            (None, gpa) => explain::explain_guest(machine, gpa.unwrap_or_default(), output),
        }),
        Command::Diff {
            before,
            after,
            options,
        } => with_machines(&[before.clone(), after.clone()], options, |machines| {
            diff::diff(machines, output)
        }),
        Command::Init { dtb } => with_tree(dtb, |tree| init::init(dtb, tree, output)),
        Command::Decode {
            registers,
            mode,
            level,
            format,
        } => {
            let tables = decoded_tables(mode.as_deref())?;
            let decoded = decode::decode(registers, tables, *level).map_err(Failure::Usage)?;
            match format {
                TextFormat::Text => Ok(decode::write(&decoded, output)?),
                TextFormat::Json => report::json::write_document(&decoded, output),
            }
        }
        Command::Dump { config, options } => {
            with_machine(config, options, |machine| dump::dump(machine, output))
        }
    }
}

fn decoded_tables(mode: Option<&str>) -> Result<Option<Tables>, Failure> {
    let tables = mode.map(|mode| {
        let tables = Tables::of_mode(mode);
        tables.ok_or_else(|| Failure::Usage(session::no_such_mode(mode)))
    });
    tables.transpose()
}

fn with_machine(
    config: &String,
    options: &Options,
    use_machine: impl FnOnce(&Machine<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    with_machines(slice::from_ref(config), options, |machines| {
        machines.first().map_or(Ok(()), use_machine)
    })
}
