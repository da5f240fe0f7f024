//! The code that each library brings along, on bare metal.

use std::fs;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection, ObjectSymbol};

use crate::process;
use crate::toolchain::{Source, Toolchains};
use crate::workspace::target_directory;

const TARGETS: [&str; 3] = [
    "riscv64gc-unknown-none-elf",
    "aarch64-unknown-none",
    "x86_64-unknown-none",
];
const OURS: &str = "consumer-nested-page-table";
const PEERS: [&str; 2] = [
    "consumer-page-table-multiarch",
    "consumer-page-table-generic",
];
/// A peer for AArch64 only.
const AARCH64_PEER: &str = "consumer-aarch64-paging";
/// What this project means to stay below.
const GOAL: u64 = 8 * 1024;

/// What a program consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Code {
    text: u64,
    read_only_data: u64,
    /// Functions that are only there for a panic.
    panics: Vec<String>,
}

impl Code {
    fn bytes(&self) -> u64 {
        self.text + self.read_only_data
    }

    /// The code in the program at `path`.
    fn of(path: &Path) -> Result<Self, String> {
        let describe =
            |reason: &dyn ToString| format!("{}: {}", path.display(), reason.to_string());
        let data = fs::read(path).map_err(|error| describe(&error))?;
        let file = object::File::parse(&*data).map_err(|error| describe(&error))?;
        let mut code = Self::default();
        for section in file.sections() {
            match section.name() {
                Ok(name) if name.starts_with(".text") => code.text += section.size(),
                Ok(name) if name.contains("rodata") => code.read_only_data += section.size(),
                _ => {}
            }
        }
        let names = file
            .symbols()
            .filter_map(|symbol| symbol.name().ok().map(str::to_owned));
        code.panics = names.filter(|name| is_panic(name)).collect();
        Ok(code)
    }
}

/// Whether a function is there for panics only: those of `core::panicking`, and the handler itself.
fn is_panic(symbol: &str) -> bool {
    ["panicking", "panic_fmt", "rust_begin_unwind"]
        .iter()
        .any(|part| symbol.contains(part))
}

/// Builds every consumer for every target, prints a table, and judges this project's: no panic may be
/// linked. That it is larger than the goal is said, and is no failure.
///
/// # Errors
///
/// When a build fails, or a panic is linked.
pub(crate) fn run(source: Source) -> Result<(), String> {
    let toolchains = Toolchains::new(source, &TARGETS);
    let mut panics = Vec::new();
    let mut rows = Vec::new();
    for target in TARGETS {
        let programs = programs(target);
        let folder = build(&toolchains, target, &programs)?;
        for program in programs {
            let code = Code::of(&folder.join(program))?;
            if program == OURS && !code.panics.is_empty() {
                panics.push(format!("{target}: {}", code.panics.join(", ")));
            }
            rows.push(row(target, program, &code));
        }
    }
    println!("## Code\n\n| target | program | .text | .rodata | sum | panics |");
    println!("|---|---|--:|--:|--:|---|\n{}", rows.join("\n"));
    println!("\nThe goal for {OURS} is {GOAL} bytes, without a panic.");
    match panics.is_empty() {
        true => Ok(()),
        false => Err(format!("{OURS} can panic: {}", panics.join("; "))),
    }
}

fn programs(target: &str) -> Vec<&'static str> {
    let mut programs = vec![OURS];
    programs.extend(PEERS);
    if target.starts_with("aarch64") {
        programs.push(AARCH64_PEER);
    }
    programs
}

/// Builds `programs`: the folder that they are in.
fn build(toolchains: &Toolchains<'_>, target: &str, programs: &[&str]) -> Result<PathBuf, String> {
    let folder = target_directory()?.join("size");
    process::run(
        toolchains
            .find(target)?
            .cargo_build_programs("")?
            .args(["--package", "code-size", "--profile", "size"])
            .args(["--target", target, "--target-dir"])
            .arg(&folder)
            .args(programs.iter().flat_map(|program| ["--bin", program])),
    )?;
    Ok(folder.join(target).join("size"))
}

fn row(target: &str, program: &str, code: &Code) -> String {
    let Code {
        text,
        read_only_data,
        panics,
    } = code;
    let sum = match code.bytes() {
        bytes if program == OURS && bytes > GOAL => format!("{bytes} (over the goal)"),
        bytes => bytes.to_string(),
    };
    let panics = if panics.is_empty() { "no" } else { "yes" };
    format!("| {target} | {program} | {text} | {read_only_data} | {sum} | {panics} |")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_has_code_and_can_panic() {
        let code = Code::of(&std::env::current_exe().unwrap()).unwrap();
        assert!(code.text > 1000 && code.read_only_data > 1000);
        assert!(!code.panics.is_empty());
        assert!(Code::of(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn a_panic_is_told_by_its_name() {
        assert!(is_panic("_ZN4core9panicking5panic17h0123456789abcdefE"));
        assert!(is_panic("_RNvNtCs_4core9panicking9panic_fmt"));
        assert!(!is_panic(
            "_ZN17nested_page_table5table3map17h0123456789abcdefE"
        ));
    }
}
