//! Tests by name, and what became of them.

use alloc::string::String;
use core::fmt;

use crate::println;

/// Why a test failed.
pub type Failure = String;

/// Counts tests and prints a line for each.
#[derive(Debug, Default)]
pub struct Report<'a> {
    only: &'a str,
    passed: u64,
    failed: u64,
}

impl<'a> Report<'a> {
    /// A report that leaves out tests without `only` in their names.
    #[must_use]
    pub const fn new(only: &'a str) -> Self {
        Self {
            only,
            passed: 0,
            failed: 0,
        }
    }

    /// Runs the test `name`, unless it is left out.
    pub fn test(&mut self, name: fmt::Arguments<'_>, test: impl FnOnce() -> Result<(), Failure>) {
        let name = alloc::format!("{name}");
        if !name.contains(self.only) {
            return;
        }
        match test() {
            Ok(()) => {
                self.passed += 1;
                println!("test {name} ... ok");
            }
            Err(reason) => {
                self.failed += 1;
                println!("test {name} ... FAILED");
                println!("    {reason}");
            }
        }
    }

    /// Prints the counts; whether something ran and nothing failed.
    #[must_use]
    pub fn finish(self) -> bool {
        println!("{} passed, {} failed", self.passed, self.failed);
        self.failed == 0 && self.passed > 0
    }
}

/// Ends the test with a message, formatted as by `format!`, unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::report::failure(format_args!($($message)+)));
        }
    };
}

/// A failure with this message.
#[must_use]
pub fn failure(message: fmt::Arguments<'_>) -> Failure {
    alloc::fmt::format(message)
}
