//! What is wrong with the input, and where.

use std::fmt;
use std::io::{self, Write};

use crate::printable::printable;
use crate::report::wrap::Paragraph;

/// One reason why the input is refused, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The file at fault.
    pub(crate) file: String,
    /// Its line, counted from 1, where that is known.
    pub(crate) line: Option<usize>,
    /// The entry, its ranges, and what to change.
    pub(crate) text: String,
}

impl Problem {
    /// A problem of the whole file.
    pub(crate) fn of_file(file: &str, text: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: None,
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", printable(&self.text))
    }
}

/// Why the tool stops.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The options do not go together: exit status 2.
    Usage(String),
    /// The input is refused, a check failed or there is nothing to translate: exit status 1.
    Refused(Vec<Problem>),
    /// Standard output cannot be written. A closed pipe is no failure.
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Refused(vec![problem])
    }
}

impl Failure {
    /// Writes what is wrong to `stderr`, and says what to exit with.
    pub(crate) fn report(&self, stderr: &mut impl Write) -> u8 {
        // Nobody is left to be told when standard error is closed.
        match self {
            Self::Usage(text) => {
                let _ = Paragraph::write(&format!("error: {text}"), stderr);
                let _ = writeln!(stderr, "\nFor more information, try '--help'.");
                2
            }
            Self::Refused(problems) => {
                for problem in problems {
                    let _ = Paragraph::write(&format!("error: {problem}"), stderr);
                }
                1
            }
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(error) => {
                let _ = writeln!(stderr, "error: cannot write: {error}");
                1
            }
        }
    }
}

/// What is wrong with the command line, as `clap` says it, within 80 columns.
pub(crate) fn write_usage_error(error: &clap::Error, stderr: &mut impl Write) -> io::Result<()> {
    for line in error.render().to_string().lines() {
        match line.split_once(' ') {
            // Lists of possible values are indented.
            Some(("", rest)) => {
                let mut paragraph = Paragraph::hanging(stderr, " ")?;
                paragraph.add_words(rest.trim_start())?;
                paragraph.end()?;
            }
            _ => Paragraph::write(line, stderr)?,
        }
    }
    Ok(())
}

/// Something wrong at an offset of a file.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) offset: usize,
    pub(crate) text: String,
}

/// The line of the byte at `offset` of `text`, counted from 1.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}

/// The faults of `file`, whose contents are `text`, by line.
pub(crate) fn locate(file: &str, text: &str, mut faults: Vec<Fault>) -> Vec<Problem> {
    faults.sort_by_key(|fault| fault.offset);
    let mut line = 1;
    let mut counted = 0;
    let problem = |fault: Fault| {
        let offset = fault.offset.min(text.len());
        let unseen = text.as_bytes().get(counted..offset).unwrap_or_default();
        line += unseen.iter().filter(|&&byte| byte == b'\n').count();
        counted = offset;
        Problem {
            file: file.into(),
            line: Some(line),
            text: fault.text,
        }
    };
    faults.into_iter().map(problem).collect()
}
