//! `cargo xtask encodings`: the instructions of the backends, as machine code, against the manuals.
//!
//! No test on a host executes a bare-metal instruction, so a barrier of the wrong kind, or one that is
//! missing, would show on real processors only. The program `instructions` of `code-size` has one
//! function for each instruction. Its machine code is compared with encodings that were written by hand.

mod aarch64;
mod program;
mod riscv64;
mod words;
mod x86_64;

use crate::encodings::program::Program;
use crate::process;
use crate::report::Report;
use crate::toolchain::{Source, Toolchain, Toolchains};
use crate::workspace::target_directory;

/// What is to be found in the program for one target.
struct Manual {
    target: &'static str,
    /// A complaint for everything that is not as the manual says.
    complaints: fn(&Program) -> Vec<String>,
}

const MANUALS: [Manual; 3] = [
    Manual {
        target: "riscv64gc-unknown-none-elf",
        complaints: riscv64::complaints,
    },
    Manual {
        target: "aarch64-unknown-none",
        complaints: aarch64::complaints,
    },
    Manual {
        target: "x86_64-unknown-none",
        complaints: x86_64::complaints,
    },
];

/// The options of `cargo xtask encodings`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Where the compiler and the targets come from
    #[arg(long, value_enum, default_value_t)]
    toolchain: Source,
}

/// Builds and compares; each target counts as one.
pub(crate) fn run(options: &Options, report: &mut Report) {
    let targets = MANUALS.map(|manual| manual.target);
    let toolchains = Toolchains::new(options.toolchain, &targets);
    for manual in MANUALS {
        report.step(&format!("encodings {}", manual.target), || {
            let program = build(toolchains.find(manual.target)?, manual.target)?;
            let complaints = (manual.complaints)(&program);
            match complaints.is_empty() {
                true => Ok(()),
                false => Err(complaints.join("; ")),
            }
        });
    }
}

fn build(toolchain: Toolchain, target: &str) -> Result<Program, String> {
    let folder = target_directory()?.join("encodings");
    process::run(
        toolchain
            .cargo_build_programs("")?
            .args(["--package", "code-size", "--bin", "instructions"])
            .args(["--profile", "size", "--target", target, "--target-dir"])
            .arg(&folder),
    )?;
    Program::read(&folder.join(target).join("size").join("instructions"))
}
