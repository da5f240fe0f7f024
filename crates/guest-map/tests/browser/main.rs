//! The page of `--format html` in a real browser: search, zoom, keyboard, pointer, print, and that nothing is asked
//! from outside.
//!
//! `cargo xtask browser` fetches chromium and chromedriver, and says where they are:
//! `GUEST_MAP_CHROMIUM` and `GUEST_MAP_CHROMEDRIVER`. Without them this program says so and does nothing. It has a
//! `main` of its own, so that what it says is seen, and all cases share one browser.

#![expect(
    clippy::unwrap_used,
    reason = "a case that fails panics, and is reported with its name"
)]

#[path = "../common/mod.rs"]
mod common;
mod driver;
mod look;
mod pages;
mod safety;
mod use_it;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use driver::{Browser, Driver};

/// A case: its name, and what it does.
type Case = (&'static str, fn(&Browser) -> Result<(), driver::Error>);

fn main() -> ExitCode {
    let program = |name| std::env::var_os(name).filter(|path| !path.is_empty());
    let (Some(chromium), Some(chromedriver)) = (
        program("GUEST_MAP_CHROMIUM"),
        program("GUEST_MAP_CHROMEDRIVER"),
    ) else {
        println!("Skipped: no browser; cargo xtask browser fetches one and runs these tests");
        return ExitCode::SUCCESS;
    };
    let cases: Vec<Case> = [use_it::CASES, look::CASES, safety::CASES].concat();
    println!("\nrunning {} tests", cases.len());
    let driver = Driver::start(&chromedriver);
    let failed = run_all(&driver, &chromium, &cases);
    let passed = cases.len() - failed;
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored\n");
    ExitCode::from(u8::from(failed > 0))
}

/// Runs each case in a session of its own, and says how many failed.
fn run_all(driver: &Driver, chromium: &std::ffi::OsStr, cases: &[Case]) -> usize {
    let mut failed = 0;
    for (name, case) in cases {
        let run = || driver.with_browser(chromium, case);
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(run));
        let reason = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it panicked, as said above".into()),
        };
        match reason {
            None => println!("test {name} ... ok"),
            Some(reason) => {
                failed += 1;
                eprintln!("{name}: {reason}");
                println!("test {name} ... FAILED");
            }
        }
    }
    failed
}
