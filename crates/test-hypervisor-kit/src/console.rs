//! Text for whoever started the machine.

use core::fmt::{self, Write};

use log::{LevelFilter, Log, Metadata, Record};
use spin::Mutex;

/// Where bytes go, once the hypervisor has said so.
static SINK: Mutex<Sink> = Mutex::new(Sink(None));

struct Sink(Option<fn(u8)>);

impl Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if let Self(Some(put)) = *self {
            text.bytes().for_each(put);
        }
        Ok(())
    }
}

struct ConsoleLog;

impl Log for ConsoleLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        print_line(format_args!("{}: {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

/// Sends everything that is printed or logged from now on to `put`, byte by byte.
pub fn set_up(put: fn(u8)) {
    SINK.lock().0 = Some(put);
    // A second call finds the log in place already, and changes the sink alone.
    if log::set_logger(&ConsoleLog).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

/// Prints one line. Lines of several CPUs do not mix.
pub fn print_line(line: fmt::Arguments<'_>) {
    // The sink takes everything.
    let _ = writeln!(SINK.lock(), "{line}");
}

/// Prints one line from a handler that may have interrupted another line, and does not return to it.
///
/// It takes no lock, so it needs to be told again where bytes go.
pub fn print_last_words(put: fn(u8), line: fmt::Arguments<'_>) {
    let _ = writeln!(Sink(Some(put)), "\n{line}");
}

/// Prints one line, formatted as by `format!`.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => { $crate::console::print_line(format_args!($($argument)*)) };
}
