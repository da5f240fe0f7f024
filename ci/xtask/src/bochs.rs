//! Bochs: a machine without firmware, whose ROM is the image.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process;
use crate::tool;
use crate::workspace;

/// Where the hypervisor looks for its command line.
const COMMAND_LINE_AT: &str = "0x8000";
/// Bochs 3.0 wants a ROM for its display. There is no firmware that would call it, so that it is empty.
const VIDEO_ROM_SIZE: usize = 2048;
/// Files are loaded into RAM in multiples of this.
const UNIT: usize = 512;

/// A headless machine with `processor` that runs `image` with `command_line`. Its console is its standard
/// output; what Bochs itself has to say goes into files next to the image.
///
/// # Errors
///
/// When there is no Bochs, or one of those files, or of those that it reads, cannot be written.
pub(crate) fn command(
    processor: &str,
    image: &Path,
    command_line: &str,
) -> Result<Command, String> {
    let machine = workspace::root()?.join("arch/x86_64/test-hypervisor");
    let mut bochs = tool::BOCHS.command()?;
    // Up to 2.7 the debugger runs always; later it has to be asked for.
    if process::everything_said(tool::BOCHS.command()?.arg("--help")).contains("-debugger") {
        bochs.arg("-debugger");
    }
    let command_line_file = image.with_file_name("command-line");
    let video_rom = image.with_file_name("video-rom");
    let messages = image.with_file_name("bochs-messages");
    write(&command_line_file, command_line)
        .and_then(|()| fs::write(&video_rom, [0; VIDEO_ROM_SIZE]))
        .and_then(|()| File::create(&messages))
        .map(|messages| {
            bochs
                .args(["-q", "-unlock", "-f"])
                .arg(machine.join("bochsrc"))
                .arg("-rc")
                .arg(machine.join("debugger-commands"))
                .arg(format!(
                    "cpu: model={processor}, count=1, ips=100000000, reset_on_triple_fault=0"
                ))
                .arg(format!("romimage: file={}", image.display()))
                .arg(format!("vgaromimage: file={}", video_rom.display()))
                .arg(format!(
                    "optramimage1: file={}, address={COMMAND_LINE_AT}",
                    command_line_file.display()
                ))
                .arg(format!(
                    "log: {}",
                    image.with_file_name("bochs-log").display()
                ))
                .stderr(Stdio::from(messages));
            bochs
        })
        .map_err(|error| format!("{}: {error}", image.display()))
}

/// The words with a zero behind them, and zeroes up to a whole unit.
fn write(path: &Path, command_line: &str) -> io::Result<()> {
    let mut bytes = command_line.as_bytes().to_vec();
    bytes.resize((bytes.len() + 1).next_multiple_of(UNIT), 0);
    fs::write(path, bytes)
}
