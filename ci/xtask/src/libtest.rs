//! Reads the counts in the output of `cargo test`.

use crate::report::Tally;

/// What the test programs have reported so far, fed line by line.
#[derive(Debug, Default)]
pub(crate) struct Results {
    passed: u64,
    failed: u64,
    failed_names: Vec<String>,
    programs: u64,
    /// A program has announced its tests and not yet given their result.
    running: bool,
    /// Programs that never gave the result they owed.
    vanished: u64,
}

impl Results {
    /// Takes one line of the standard output of `cargo test`.
    pub(crate) fn line(&mut self, line: &str) {
        if is_announcement(line) {
            self.vanished += u64::from(self.running);
            self.running = true;
        } else if let Some((passed, failed)) = result_counts(line) {
            self.passed += passed;
            self.failed += failed;
            self.programs += 1;
            self.running = false;
        } else if let Some(name) = failed_name(line) {
            self.failed_names.push(name.to_owned());
        }
    }

    /// The outcome, given whether `cargo test` as a whole succeeded: a program that died without a result is a
    /// failure, and so is a run that failed or saw no test program at all without saying which test failed.
    pub(crate) fn finish(self, succeeded: bool) -> Tally {
        let mut tally = Tally {
            passed: self.passed,
            failed: self.failed,
            reasons: self.failed_names,
        };
        for _ in 0..self.vanished + u64::from(self.running) {
            tally.fail("a test program ended without a result");
        }
        if tally.failed == 0 && !succeeded {
            tally.fail("cargo test failed before or after the tests");
        } else if tally.failed == 0 && self.programs == 0 {
            tally.fail("no test program ran");
        }
        tally
    }
}

/// Whether `line` is libtest's `running N tests`.
fn is_announcement(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    matches!(words.as_slice(), ["running", count, "test" | "tests"] if count.parse::<u64>().is_ok())
}

/// The name in libtest's `test NAME ... FAILED`.
fn failed_name(line: &str) -> Option<&str> {
    line.trim_end()
        .strip_prefix("test ")?
        .strip_suffix(" ... FAILED")
}

/// The counts in libtest's `test result: ok. 3 passed; 0 failed; ...`.
fn result_counts(line: &str) -> Option<(u64, u64)> {
    let counts = line.strip_prefix("test result: ")?;
    Some((
        count_before(counts, "passed;")?,
        count_before(counts, "failed;")?,
    ))
}

/// The number in front of `word`.
fn count_before(text: &str, word: &str) -> Option<u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .windows(2)
        .find_map(|pair| (pair[1] == word).then(|| pair[0].parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSING: &str = "
running 2 tests
test range::ends_at_the_last_byte ... ok
test range::empty ... ok

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
    const FAILING: &str = "
running 3 tests
test a ... ok
test b ... FAILED
test c ... ok

failures:

---- b stdout ----
running late: the tests are 3 failed

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
";
    const EMPTY: &str = "
running 0 tests

test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
    const CRASHING: &str = "
running 1 test
test stack_overflow ... ";

    fn tally(outputs: &[&str], succeeded: bool) -> Tally {
        let mut results = Results::default();
        outputs
            .iter()
            .flat_map(|output| output.lines())
            .for_each(|line| results.line(line));
        results.finish(succeeded)
    }

    #[test]
    fn sums_all_programs() {
        let sum = tally(&[PASSING, EMPTY, FAILING, PASSING], false);
        assert_eq!((sum.passed, sum.failed), (6, 1));
        assert_eq!(sum.reasons, ["b"]);
    }

    #[test]
    fn success_has_no_reasons() {
        let sum = tally(&[PASSING, EMPTY], true);
        assert_eq!((sum.passed, sum.failed, sum.reasons.len()), (2, 0, 0));
    }

    #[test]
    fn a_crash_is_a_failure_wherever_it_happens() {
        for outputs in [[CRASHING, PASSING], [PASSING, CRASHING]] {
            let sum = tally(&outputs, false);
            assert_eq!((sum.passed, sum.failed), (2, 1));
        }
        assert_eq!(tally(&[FAILING, CRASHING, CRASHING], false).failed, 3);
    }

    #[test]
    fn a_compile_failure_prints_nothing_and_is_a_failure() {
        assert_eq!(tally(&[], false).failed, 1);
        assert_eq!(tally(&[PASSING], false).failed, 1);
    }

    #[test]
    fn a_run_without_tests_is_a_failure() {
        assert_eq!(tally(&[], true).failed, 1);
        assert_eq!(tally(&[EMPTY], true).failed, 0);
    }

    #[test]
    fn coloured_results_count() {
        let line = "test result: \u{1b}[32mok\u{1b}(B\u{1b}[m. 12 passed; 0 failed; 0 ignored";
        assert_eq!(result_counts(line), Some((12, 0)));
    }
}
