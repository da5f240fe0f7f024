//! `cargo xtask machine`: a real MMU, if an emulated one, walks our tables.

use std::path::Path;
use std::time::Duration;

use crate::isa::{Isa, Variant};
use crate::process;
use crate::report::{Report, Tally};
use crate::toolchain::Source;

/// A machine that has not finished by then hangs. For each thousand operations, beyond the first.
const LIMIT: Duration = Duration::from_secs(300);
/// What the guest writes to the UART that is passed through to it.
const GUEST_TEXT: &str = "a guest drives this UART";

/// The options of `cargo xtask machine`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The architecture
    isa: Isa,
    /// What the random operations and probes follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many operations the differential run does in each mode
    #[arg(long, default_value_t = 2000)]
    steps: u64,
    /// How many probes follow each operation
    #[arg(long, default_value_t = 50)]
    probes: u64,
    /// Run only tests with this in their names
    #[arg(long, default_value = "")]
    only: String,
    /// Where the compiler and the targets come from
    #[arg(long, value_enum, default_value_t)]
    toolchain: Source,
}

impl Options {
    fn new(isa: Isa) -> Self {
        Self {
            isa,
            seed: 1,
            steps: 2000,
            probes: 50,
            only: String::new(),
            toolchain: Source::default(),
        }
    }

    fn command_line(&self) -> String {
        let Self {
            seed,
            steps,
            probes,
            only,
            ..
        } = self;
        let line = format!("seed={seed} steps={steps} probes={probes}");
        match only.as_str() {
            "" => line,
            only => format!("{line} only={only}"),
        }
    }

    fn limit(&self) -> Duration {
        let thousands = self.steps.saturating_mul(self.probes) / 50_000;
        LIMIT.saturating_mul(u32::try_from(thousands).unwrap_or(u32::MAX).max(1))
    }
}

/// Runs the suite of every architecture as it runs in CI.
pub(crate) fn run_all(report: &mut Report) {
    for &isa in Isa::ALL {
        run(&Options::new(isa), report);
    }
}

/// Runs the suite on each variant of the machine, then with damaged tables, where it has to fail.
pub(crate) fn run(options: &Options, report: &mut Report) {
    let isa = options.isa;
    let mut image = Err("not built".to_owned());
    report.step(&format!("machine {}: build", isa.name()), || {
        image = isa.build(options.toolchain);
        image.clone().map(drop)
    });
    let Ok(image) = image else { return };
    for &variant in isa.variants() {
        let name = format!("machine {}: {}", isa.name(), variant.name);
        report.step(&name, || {
            suite(options, variant, &image).unwrap_or_else(|reason| Err(reason).into())
        });
    }
    if options.only.is_empty() {
        let name = format!("machine {}: damaged tables are noticed", isa.name());
        report.step(&name, || negative_control(options, &image));
    }
}

fn suite(options: &Options, variant: Variant, image: &Path) -> Result<Tally, String> {
    let (result, console) = boot(options, variant, image, &options.command_line())?;
    let (passed, failed) = console.counts.unwrap_or_default();
    let mut tally = Tally {
        passed,
        failed,
        reasons: console.failures,
    };
    if let Err(reason) = result.as_ref()
        && (failed == 0 || console.counts.is_none())
    {
        tally.fail(reason.as_str());
    } else if result.is_ok() && console.counts.is_none() {
        tally.fail("the machine ended without a result");
    }
    if options.only.is_empty() && !console.guest_spoke {
        tally.fail(format!("no guest wrote \"{GUEST_TEXT}\""));
    }
    Ok(tally)
}

/// The suite has to come to its end, and to say that tests of most kinds failed.
fn negative_control(options: &Options, image: &Path) -> Result<(), String> {
    let variant = options.isa.variants()[0];
    let (result, console) = boot(options, variant, image, "steps=100 sabotage")?;
    match (result, console.counts) {
        (Err(_), Some((passed, failed))) if failed > passed => Ok(()),
        (_, Some((passed, failed))) => Err(format!("{passed} passed, only {failed} failed")),
        (Ok(()), None) => Err("the machine ended without a result".to_owned()),
        (Err(reason), None) => Err(reason),
    }
}

fn boot(
    options: &Options,
    variant: Variant,
    image: &Path,
    command_line: &str,
) -> Result<(Result<(), String>, Console), String> {
    let mut command = options.isa.boot(variant, image, command_line)?;
    let mut console = Console::default();
    let result =
        process::run_lines_within(&mut command, options.limit(), |line| console.line(line));
    Ok((result, console))
}

/// What the suite has said so far.
#[derive(Debug, Default)]
struct Console {
    counts: Option<(u64, u64)>,
    failures: Vec<String>,
    guest_spoke: bool,
}

impl Console {
    fn line(&mut self, line: &str) {
        let line = line.trim_end();
        self.guest_spoke |= line == GUEST_TEXT;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["test", name, "...", "FAILED"] => self.failures.push((*name).to_owned()),
            [passed, "passed,", failed, "failed"] => {
                self.counts = passed.parse().ok().zip(failed.parse().ok());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_is_understood() {
        let mut console = Console::default();
        for line in [
            "test sv39x4::unmapped ... ok\r\n",
            "test sv39x4::remap ... FAILED\r\n",
            "a guest drives this UART\r\n",
            "59 passed, 1 failed\r\n",
        ] {
            console.line(line);
        }
        assert_eq!(console.counts, Some((59, 1)));
        assert_eq!(console.failures, ["sv39x4::remap"]);
        assert!(console.guest_spoke);
    }

    #[test]
    fn options_become_words() {
        let mut options = Options::new(Isa::Riscv64);
        options.only = "uart".to_owned();
        let line = "seed=1 steps=2000 probes=50 only=uart";
        assert_eq!(options.command_line(), line);
        assert_eq!(options.limit(), 2 * LIMIT);
    }
}
