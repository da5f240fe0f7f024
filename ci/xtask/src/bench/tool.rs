//! How long `guest-map plan` takes for a hundred thousand devices, and how much it prints.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::bench::describe;
use crate::process::{self, cargo};
use crate::workspace::target_directory;

const DEVICES: u64 = 100_000;
const ROUNDS: usize = 5;
/// Limits the address space that the tool may take: 200,000 KiB.
const LIMIT: &str = "ulimit -v 200000 && exec \"$@\"";

/// Prints the shortest of some rounds for each format. Nothing is compared: a busy machine takes longer.
///
/// # Errors
///
/// When the tool cannot be built, or needs more memory than the limit.
pub(crate) fn run() -> Result<(), String> {
    process::run(cargo().args(["build", "--release", "--package", "guest-map"]))?;
    let target = target_directory()?;
    let (program, folder) = (target.join("release/guest-map"), target.join("benchmarks"));
    fs::create_dir_all(&folder).map_err(|error| describe(&error))?;
    let (input, output) = (folder.join("devices.toml"), folder.join("devices.out"));
    fs::write(&input, configuration()).map_err(|error| describe(&error))?;
    for format in ["table", "json", "svg", "html"] {
        let times = (0..ROUNDS).map(|_| time(&program, &input, format, &output));
        let times = times.collect::<Result<Vec<_>, _>>()?;
        let shortest = times.iter().min().copied().unwrap_or_default();
        let bytes = fs::metadata(&output)
            .map_err(|error| describe(&error))?
            .len();
        println!(
            "{format:5}  {:4} ms  {bytes:9} bytes  within 200 MB",
            shortest.as_millis()
        );
    }
    Ok(())
}

fn time(program: &Path, input: &Path, format: &str, output: &Path) -> Result<Duration, String> {
    let output = File::create(output).map_err(|error| describe(&error))?;
    let mut command = Command::new("sh");
    command
        .args(["-c", LIMIT, "sh"])
        .arg(program)
        .arg("plan")
        .arg(input);
    command
        .args(["--arch", "aarch64", "--format", format])
        .stdout(output);
    let start = Instant::now();
    process::run_unannounced(&mut command)?;
    Ok(start.elapsed())
}

/// Every third device has a host address of its own.
fn configuration() -> String {
    let mut text = String::from(
        "[base]\nid = 1\nname = \"many\"\n[kernel]\nmemory_regions = [[0x8000_0000, 0x4000_0000, 7, 1]]\n\
         [devices]\npassthrough_devices = [\n",
    );
    for device in 0..DEVICES {
        let gpa = 0x1_0000_0000 + device * 0x3000;
        let hpa = gpa + if device % 3 == 0 { 0x10_0000_0000 } else { 0 };
        let _ = writeln!(text, "  [\"device-{device}\", {gpa:#x}, {hpa:#x}, 0x1000],");
    }
    text + "]\n"
}
