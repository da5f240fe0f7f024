#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod architecture;
mod build;
mod capabilities;
mod check;
mod cli;
mod config;
mod decode;
mod dependencies;
mod describe;
mod device_tree;
mod diff;
mod dump;
mod excluded;
mod explain;
mod hardware_walk;
mod help;
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

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use guest_addr::GuestPhysAddr;

use crate::check::Checked;
use crate::cli::{Cli, Command, Options, OutputFormat, TextFormat};
use crate::decode::{Decoded, Given, Tables};
use crate::dependencies::Dependencies;
use crate::diff::Difference;
use crate::dump::Dump;
use crate::explain::{Explanation, Reached};
use crate::init::Board;
use crate::problem::{Failure, write_usage_error};
use crate::report::Answer;
use crate::session::{Machine, display_name, with_machines, with_tree};
use crate::translate::Translation;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error)
            if error.use_stderr()
                && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
        {
            // Nobody is left to be told when standard error is closed.
            let _ = write_usage_error(&error, &mut io::stderr().lock());
            return ExitCode::from(2);
        }
        // Help and version, which are wrapped already.
        Err(error) => error.exit(),
    };
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
            configs,
            options,
            format,
            explain_dependencies,
        } => with_machines(configs, options, |machines| {
            let dependencies = Dependencies::of_flag(*explain_dependencies);
            plan(machines, options, *format, dependencies, output)
        }),
        Command::Check {
            configs,
            options,
            format,
        } => with_machines(configs, options, |machines| {
            Checked::new(machines, options)?.print(*format, output)
        }),
        Command::Translate {
            config,
            gpa,
            options,
            format,
        } => with_machine(config, options, |machine| {
            Translation::new(machine, *gpa)?.print(*format, output)
        }),
        Command::Explain {
            config,
            gpa,
            host,
            options,
            format,
        } => with_machine(config, options, |machine| match (host, gpa) {
            (Some(host), _) => Reached::of_host(machine, *host)?.print(*format, output),
            (None, gpa) => {
                let explanation = Explanation::of_guest(machine, gpa.unwrap_or_default())?;
                explanation.found(machine)?.print(*format, output)
            }
        }),
        Command::Diff {
            before,
            after,
            options,
            format,
        } => with_machines(
            &[before.clone(), after.clone()],
            options,
            |machines| match machines {
                [before, after] => Difference::new(before, after).print(*format, output),
                _ => Ok(()),
            },
        ),
        Command::Init { dtb, format } => with_tree(dtb, |tree| {
            Board::new(display_name(dtb), tree).print(*format, output)
        }),
        Command::Decode {
            registers,
            level,
            config,
            options,
            format,
        } => decode(registers, *level, config.as_ref(), options, *format, output),
        Command::Dump {
            config,
            options,
            format,
        } => with_machine(config, options, |machine| {
            Dump::new(machine)?.print(*format, output)
        }),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "guest-map", output);
            Ok(())
        }
        Command::Man { command } => Ok(output.write_all(&help::manual_page(command.as_deref())?)?),
        Command::Help { subject } => {
            Ok(output.write_all(help::help(subject.as_deref())?.as_bytes())?)
        }
    }
}

/// JSON of one configuration is an object, that of several an array.
fn plan(
    machines: &[Machine<'_>],
    options: &Options,
    format: OutputFormat,
    dependencies: Dependencies,
    output: &mut impl Write,
) -> Result<(), Failure> {
    match (format, machines) {
        (OutputFormat::Table, _) => {
            for (position, machine) in machines.iter().enumerate() {
                if position > 0 {
                    writeln!(output, "\n")?;
                }
                report::table::write(&machine.planned, options, dependencies, output)?;
            }
            Ok(())
        }
        (OutputFormat::Json, [machine]) => {
            let plan = report::json::plan(&machine.planned, dependencies);
            report::json::write_document(&plan, output)
        }
        (OutputFormat::Json, _) => {
            let plans = || {
                let planned = machines.iter().map(|machine| &machine.planned);
                planned.map(|planned| report::json::plan(planned, dependencies))
            };
            report::json::write_document(&report::json::Sequence(plans), output)
        }
        (OutputFormat::Svg, [machine]) => Ok(report::svg::write(&machine.planned, output)?),
        (OutputFormat::Html, [machine]) => report::html::write(machine, options, output),
        (OutputFormat::Svg | OutputFormat::Html, _) => Err(Failure::Usage(
            "a picture is of one configuration: give one".into(),
        )),
    }
}

fn decode(
    registers: &[Given],
    level: Option<u8>,
    config: Option<&String>,
    options: &Options,
    format: TextFormat,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let tables = match options.mode.as_str() {
        "auto" => None,
        mode => {
            Some(Tables::of_mode(mode).ok_or_else(|| Failure::Usage(session::no_such_mode(mode)))?)
        }
    };
    let decoded = decode::decode(registers, tables, level).map_err(Failure::Usage)?;
    let Some(config) = config else {
        return decoded.print(format, output);
    };
    let Some(address) = decoded.address() else {
        let text = "--config explains the address of an exit, and these registers tell none";
        return Err(Failure::Usage(text.into()));
    };
    let mut options = options.clone();
    // The registers tell whose machine it is, if nobody else does.
    if options.dtb.is_none() {
        let mut owners = registers.iter().map(|given| given.name.architecture());
        options.arch = options.arch.or_else(|| owners.find_map(|owner| owner));
    }
    with_machine(config, &options, |machine| {
        let explanation = Explanation::of_guest(machine, GuestPhysAddr::new(address))?;
        let explanation = Some(explanation);
        let decoded = Decoded {
            explanation,
            ..decoded
        };
        decoded.print(format, output)
    })
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
