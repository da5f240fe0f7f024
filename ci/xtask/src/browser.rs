//! `cargo xtask browser`: the page of `guest-map plan --format html` in a real browser.
//!
//! The browser is Debian's chromium, which chromedriver starts. Where they can neither be fetched nor are in PATH,
//! nothing is checked, and that is said in one line.

use std::time::Duration;

use crate::libtest::Results;
use crate::process::{self, cargo};
use crate::report::{Report, Tally};
use crate::tool::{CHROMEDRIVER, CHROMIUM};

/// A browser that has not finished by then hangs; the tests are compiled before.
const LIMIT: Duration = Duration::from_secs(1800);

/// Runs the tests.
pub(crate) fn run(report: &mut Report) {
    report.step("browser", || {
        let browser = CHROMIUM.path();
        match browser.and_then(|browser| Ok((browser, CHROMEDRIVER.path()?))) {
            Ok((browser, driver)) => test(browser, driver),
            Err(reason) => {
                println!("Skipped: {reason}");
                Tally::default()
            }
        }
    });
}

fn test(browser: &std::path::Path, driver: &std::path::Path) -> Tally {
    let mut results = Results::default();
    let status = process::run_lines_within(
        cargo()
            .args(["test", "--package", "guest-map", "--test", "browser"])
            .env("GUEST_MAP_CHROMIUM", browser)
            .env("GUEST_MAP_CHROMEDRIVER", driver),
        LIMIT,
        |line| results.line(line),
    );
    results.finish(status.is_ok())
}
