//! Counts what passed and what failed over a whole run.

use std::process::ExitCode;
use std::time::Instant;

/// The outcome of one step: how many checks passed, how many failed, and why.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) reasons: Vec<String>,
}

impl Tally {
    /// Counts one more failure.
    pub(crate) fn fail(&mut self, reason: impl Into<String>) {
        self.failed += 1;
        self.reasons.push(reason.into());
    }
}

impl From<Result<(), String>> for Tally {
    /// A step that is not a test run counts as one check.
    fn from(result: Result<(), String>) -> Self {
        let mut tally = Self::default();
        match result {
            Ok(()) => tally.passed = 1,
            Err(reason) => tally.fail(reason),
        }
        tally
    }
}

/// The sum over all steps of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
}

impl Report {
    /// Runs `step` under a heading and adds its outcome. A failure does not end the run.
    pub(crate) fn step<T: Into<Tally>>(&mut self, name: &str, step: impl FnOnce() -> T) {
        println!("\n=== {name} ===");
        let start = Instant::now();
        let tally = step().into();
        let verdict = if tally.failed == 0 { "ok" } else { "FAILED" };
        println!("{name}: {verdict} in {} s", start.elapsed().as_secs());
        self.add(name, tally);
    }

    fn add(&mut self, name: &str, tally: Tally) {
        self.passed += tally.passed;
        self.failed += tally.failed;
        let failures = tally
            .reasons
            .iter()
            .map(|reason| format!("{name}: {reason}"));
        self.failures.extend(failures);
    }

    /// Prints what failed and, as the last line of the run, the counts.
    pub(crate) fn finish(self) -> ExitCode {
        println!();
        for failure in &self.failures {
            println!("FAILED {failure}");
        }
        println!("{}", self.last_line());
        ExitCode::from(u8::from(self.failed > 0))
    }

    fn last_line(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_sums_tests_and_steps() {
        let mut report = Report::default();
        report.step("format", || Ok(()));
        report.step("clippy", || Err("exit status 101".to_owned()));
        report.step("tests", || Tally {
            passed: 40,
            failed: 2,
            reasons: vec!["range::empty".to_owned(), "range::last".to_owned()],
        });
        assert_eq!(report.last_line(), "41 passed, 3 failed");
        assert_eq!(
            report.failures,
            [
                "clippy: exit status 101",
                "tests: range::empty",
                "tests: range::last"
            ]
        );
    }
}
