//! `cargo xtask sanitize`: Miri and ThreadSanitizer, on tests that are small enough for them.
//!
//! Both need a nightly toolchain. Where there is none, or its parts cannot be fetched, nothing is checked, and that
//! is said in one line.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::libtest::Results;
use crate::process;
use crate::release::nightly;
use crate::report::{Report, Tally};
use crate::workspace;

/// Parts of the nightly toolchain: the interpreter, and the library's source, which both compile anew.
const COMPONENTS: [&str; 2] = ["miri", "rust-src"];

/// Without a network `rustup` waits for minutes before it gives up.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

/// The arguments of `cargo test` for each program that Miri runs: operations of the bare table on a small arena, threads
/// that fault on one table, and the copies to and from guest memory.
const INTERPRETED: [&[&str]; 3] = [
    &["--package", "nested-page-table", "--test", "miri"],
    &["--package", "nested-page-table", "--test", "threads"],
    &["--package", "guest-vm", "--lib", "guest_copy"],
];

/// The same for ThreadSanitizer: CPUs that use machines at once, and those threads.
const THREADED: [&[&str]; 3] = [
    &["--package", "guest-vm", "--test", "race"],
    &["--package", "guest-vm", "--test", "parallel"],
    &["--package", "nested-page-table", "--test", "threads"],
];

/// Runs both.
pub(crate) fn run(report: &mut Report) {
    let ready = prepare();
    report.step("miri", || {
        unless_skipped(&ready, || test(&INTERPRETED, interpret))
    });
    let ready = ready.and_then(|()| host());
    report.step("thread sanitizer", || {
        unless_skipped(&ready, || {
            let host = ready.as_deref().unwrap_or_default();
            test(&THREADED, || watch_threads(host))
        })
    });
}

/// Runs `step`, or says why not.
fn unless_skipped<T>(ready: &Result<T, String>, step: impl FnOnce() -> Tally) -> Tally {
    match ready {
        Ok(_) => step(),
        Err(reason) => {
            println!("Skipped: {reason}");
            Tally::default()
        }
    }
}

/// Makes sure that the nightly toolchain has what it takes.
fn prepare() -> Result<(), String> {
    if has_components() {
        return Ok(());
    }
    let mut add = Command::new("rustup");
    add.args(["component", "add", "--toolchain", nightly::TOOLCHAIN]);
    process::run_within(add.args(COMPONENTS), RUSTUP_LIMIT)
        .map_err(|reason| format!("it takes a nightly toolchain with {COMPONENTS:?}: {reason}"))
}

fn has_components() -> bool {
    let miri = process::output(nightly::cargo().args(["miri", "--version"]));
    let sysroot = process::output(nightly::rustc().args(["--print", "sysroot"]));
    let has_source = |sysroot: String| {
        let source = "lib/rustlib/src/rust/library/Cargo.toml";
        Path::new(sysroot.trim()).join(source).exists()
    };
    miri.is_ok() && sysroot.is_ok_and(has_source)
}

/// This machine's target, if ThreadSanitizer exists for it.
fn host() -> Result<String, String> {
    let version = process::output(nightly::rustc().arg("-vV"))?;
    host_in(&version).map(str::to_owned)
}

fn host_in(version: &str) -> Result<&str, String> {
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    match host {
        Some(host @ ("x86_64-unknown-linux-gnu" | "aarch64-unknown-linux-gnu")) => Ok(host),
        _ => Err(format!("no ThreadSanitizer for {}", host.unwrap_or("?"))),
    }
}

/// A `cargo test` under Miri. Pointers keep where they come from: an address is no pointer.
fn interpret() -> Command {
    let mut command = nightly::cargo();
    command.args(["miri", "test"]);
    command.env("MIRIFLAGS", "-Zmiri-strict-provenance");
    command
}

/// A `cargo test` under ThreadSanitizer, the library included, which would hide races otherwise.
fn watch_threads(host: &str) -> Command {
    let mut command = nightly::cargo();
    command.args(["test", "-Zbuild-std", "--target", host]);
    command.env("RUSTFLAGS", "-Zsanitizer=thread");
    command
}

/// Runs a `command` with each of `programs`, in a target directory of its own.
fn test(programs: &[&[&str]], command: impl Fn() -> Command) -> Tally {
    let target = match workspace::target_directory() {
        Ok(target) => target.join("sanitize"),
        Err(reason) => return Err(reason).into(),
    };
    let mut results = Results::default();
    let mut succeeded = true;
    for program in programs {
        let mut command = command();
        command.arg("--target-dir").arg(&target).args(*program);
        succeeded &= process::run_lines(&mut command, |line| results.line(line)).is_ok();
    }
    results.finish(succeeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_read_from_what_the_compiler_says() {
        let linux = "rustc 1.97.0\nhost: x86_64-unknown-linux-gnu\nrelease: 1.97.0";
        assert_eq!(host_in(linux), Ok("x86_64-unknown-linux-gnu"));
        assert!(host_in("host: riscv64gc-unknown-linux-gnu").is_err());
        assert!(host_in("").is_err());
    }

    #[test]
    fn what_is_skipped_counts_as_nothing() {
        let skipped = unless_skipped(&Err::<(), _>("no nightly".to_owned()), || Tally {
            failed: 1,
            ..Tally::default()
        });
        assert_eq!(skipped, Tally::default());
    }
}
