//! `cargo xtask guest`: real, unmodified guests on our tables.

mod files;
mod script;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::isa::Isa;
use crate::process::{self, Conversation};
use crate::report::{Report, Tally};
use crate::toolchain::Source;
use files::{File, failed, files};
use script::Script;

/// A guest that has not powered itself off by then hangs.
const LIMIT: Duration = Duration::from_secs(480);
const MIB_2: u64 = 2 << 20;

/// The options of `cargo xtask guest`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// The guest
    guest: Guest,
    /// The architecture
    isa: Isa,
    /// Where the compiler and the targets come from
    #[arg(long, value_enum, default_value_t)]
    toolchain: Source,
}

/// A guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Guest {
    /// Debian's U-Boot: to its prompt, commands, power-off
    Uboot,
    /// Debian's Linux: to a busybox shell that writes and reads a file, power-off
    Linux,
    /// The same with two CPUs, which fill memory at once
    LinuxSmp,
    /// The same with two CPUs, where each fault fills 2 MiB if possible
    LinuxSmpBlocks,
}

impl Guest {
    const ALL: [Self; 4] = [
        Self::Uboot,
        Self::Linux,
        Self::LinuxSmp,
        Self::LinuxSmpBlocks,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Uboot => "uboot",
            Self::Linux => "linux",
            Self::LinuxSmp => "linux-smp",
            Self::LinuxSmpBlocks => "linux-smp-blocks",
        }
    }

    /// The name of its description and its device tree.
    const fn sources(self) -> &'static str {
        match self {
            Self::LinuxSmpBlocks => "linux-smp",
            _ => self.name(),
        }
    }

    /// What the hypervisor is told.
    const fn words(self) -> &'static str {
        match self {
            Self::LinuxSmpBlocks => "guest blocks",
            _ => "guest",
        }
    }

    /// Whether a run with a damaged table shows something that the run of another guest does not.
    const fn has_negative_control(self) -> bool {
        matches!(self, Self::Uboot | Self::Linux)
    }
}

/// A guest with all that it needs.
#[derive(Debug)]
struct Prepared {
    guest: Guest,
    isa: Isa,
    image: PathBuf,
    files: Vec<File>,
    script: Script,
}

/// Runs every guest that there is.
pub(crate) fn run_all(report: &mut Report) {
    for &isa in Isa::ALL.iter().filter(|isa| isa.has_guests()) {
        for guest in Guest::ALL {
            let toolchain = Source::default();
            let options = Options {
                guest,
                isa,
                toolchain,
            };
            run(&options, report);
        }
    }
}

/// Runs one guest, where each exchange with it counts as one check, and so does its end; then once
/// more with a damaged table, where it has to fail.
pub(crate) fn run(options: &Options, report: &mut Report) {
    let name = format!("guest {} {}", options.guest.name(), options.isa.name());
    let mut prepared = Err("not prepared".to_owned());
    report.step(&format!("{name}: build"), || {
        prepared = Prepared::new(options);
        prepared.as_ref().map(drop).map_err(String::clone)
    });
    let Ok(prepared) = prepared else { return };
    report.step(&name, || {
        suite(&prepared).unwrap_or_else(|reason| Err(reason).into())
    });
    if options.guest.has_negative_control() {
        let name = format!("{name}: a damaged table is noticed");
        report.step(&name, || negative_control(&prepared));
    }
}

fn suite(prepared: &Prepared) -> Result<Tally, String> {
    let conversation = prepared.boot("")?;
    let mut tally = Tally::from(conversation.result);
    tally.passed += conversation.exchanges as u64;
    let script = prepared.script.exchanges();
    if let Some((expected, _)) = script.get(conversation.exchanges) {
        tally.fail(format!("the guest never said \"{expected}\""));
    }
    Ok(tally)
}

/// A page of the ramdisk leads elsewhere. The guest has to get as far as its ramdisk, and no farther,
/// and to end by itself.
fn negative_control(prepared: &Prepared) -> Result<(), String> {
    let conversation = prepared.boot(" sabotage")?;
    let expected = prepared.script.before_ramdisk.len();
    match conversation.exchanges {
        _ if conversation.timed_out => conversation.result,
        exchanges if exchanges == expected => Ok(()),
        exchanges => Err(format!("{exchanges} exchanges, not {expected}")),
    }
}

impl Prepared {
    fn new(options: &Options) -> Result<Self, String> {
        let Options {
            guest,
            isa,
            toolchain,
        } = *options;
        if !isa.has_guests() {
            return Err(format!("{} has no such guest", isa.name()));
        }
        Ok(Self {
            guest,
            isa,
            image: isa.build(toolchain)?,
            files: files(guest, isa)?,
            script: Script::new(guest, isa),
        })
    }

    /// Boots the hypervisor with what the guest wants, `words` and the files on its command line, and talks to the guest.
    fn boot(&self, words: &str) -> Result<Conversation, String> {
        let mut command_line = self.guest.words().to_owned() + words;
        let mut loaders = Vec::new();
        let mut address = self.isa.files_at();
        for (name, path) in &self.files {
            let size = fs::metadata(path).map_err(|error| failed(path, &error))?;
            let size = size.len();
            command_line += &format!(" {name}={address:#x},{size:#x}");
            let path = path.display();
            loaders.push(format!("loader,file={path},addr={address:#x},force-raw=on"));
            address += size.next_multiple_of(MIB_2);
        }
        let variant = self.isa.variants()[0];
        let mut command = self.isa.boot(variant, &self.image, &command_line)?;
        command.args(loaders.iter().flat_map(|loader| ["-device", loader]));
        let script = self.script.exchanges();
        Ok(process::converse(&mut command, LIMIT, &script))
    }
}
