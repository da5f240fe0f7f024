//! Child processes: shown before they run, without input, and judged by their exit status.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Runs `command`; its output goes where ours goes.
///
/// # Errors
///
/// When it cannot be started or fails.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    show(command);
    run_unannounced(command)
}

/// Runs `command` as [`run`] does, without showing it: standard output is the command's alone.
///
/// # Errors
///
/// When it cannot be started or fails.
pub(crate) fn run_unannounced(command: &mut Command) -> Result<(), String> {
    let status = command.stdin(Stdio::null()).status();
    judge(command, status)
}

/// Runs `command` as [`run`] does, and kills it when it takes longer than `limit`.
///
/// # Errors
///
/// When it cannot be started, fails, or is killed.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<(), String> {
    show(command);
    let child = command.stdin(Stdio::null()).spawn();
    let status = child.and_then(|mut child| wait_within(&mut child, limit));
    judge(command, status)
}

/// Runs `command`, hands each line of its standard output to `each` and prints it.
///
/// # Errors
///
/// When it cannot be started or fails.
pub(crate) fn run_lines(
    command: &mut Command,
    each: impl FnMut(&str) + Send,
) -> Result<(), String> {
    run_lines_within(command, Duration::MAX, each)
}

/// Runs `command` as [`run_lines`] does, and kills it when it takes longer than `limit`.
///
/// # Errors
///
/// When it cannot be started, fails, or is killed.
pub(crate) fn run_lines_within(
    command: &mut Command,
    limit: Duration,
    each: impl FnMut(&str) + Send,
) -> Result<(), String> {
    show(command);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let status = child.and_then(|mut child| {
        let output = child.stdout.take();
        thread::scope(|scope| {
            let copy = || output.map_or(Ok(()), |output| copy_lines(output, io::stdout(), each));
            let copying = scope.spawn(copy);
            let status = wait_within(&mut child, limit);
            let copied = copying
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a panic")));
            status.and_then(|status| copied.map(|()| status))
        })
    });
    judge(command, status)
}

/// One exchange of a [`converse`]: what to wait for in the output, and what to type then.
pub(crate) type Exchange<'a> = (&'a str, &'a str);

/// How a [`converse`] went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conversation {
    /// How many exchanges took place.
    pub(crate) exchanges: usize,
    /// Whether the command took too long.
    pub(crate) timed_out: bool,
    /// How the command ended.
    pub(crate) result: Result<(), String>,
}

/// Runs `command`, shows its output, and types what `script` says; kills it when it takes longer than
/// `limit`.
///
/// An exchange begins to look where the one before has typed.
pub(crate) fn converse(
    command: &mut Command,
    limit: Duration,
    script: &[Exchange<'_>],
) -> Conversation {
    show(command);
    let mut exchanges = 0;
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let status = piped.spawn().and_then(|mut child| {
        let (input, output) = (child.stdin.take(), child.stdout.take());
        thread::scope(|scope| {
            let done = &mut exchanges;
            let talking = scope.spawn(move || match input.zip(output) {
                Some((input, output)) => talk(output, input, io::stdout(), script, done),
                None => Ok(()),
            });
            let status = wait_within(&mut child, limit);
            let talked = talking
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a panic")));
            status.and_then(|status| talked.map(|()| status))
        })
    });
    Conversation {
        exchanges,
        timed_out: matches!(&status, Err(error) if error.kind() == io::ErrorKind::TimedOut),
        result: judge(command, status),
    }
}

fn talk(
    mut from: impl Read,
    mut input: impl Write,
    mut to: impl Write,
    script: &[Exchange<'_>],
    done: &mut usize,
) -> io::Result<()> {
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..count])?;
        to.flush()?;
        heard.extend_from_slice(&buffer[..count]);
        while let Some((expected, answer)) = script.get(*done)
            && let Some(end) = end_of(expected.as_bytes(), &heard)
        {
            heard.drain(..end);
            *done += 1;
            // Whoever has ended hears nothing.
            let _ = input
                .write_all(answer.as_bytes())
                .and_then(|()| input.flush());
        }
    }
}

/// Where the first `wanted` in `heard` ends.
fn end_of(wanted: &[u8], heard: &[u8]) -> Option<usize> {
    let start = heard
        .windows(wanted.len())
        .position(|window| window == wanted);
    start.map(|start| start + wanted.len())
}

/// The standard output of `command`, which is not shown; nor is its standard error.
///
/// # Errors
///
/// When it cannot be started or fails.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", program(command)))?;
    judge(command, Ok(output.status))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What `command` prints, on standard output and on standard error, however it ends. It is not shown.
pub(crate) fn everything_said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let said = output.map(|output| [output.stdout, output.stderr].concat());
    String::from_utf8_lossy(&said.unwrap_or_default()).into_owned()
}

fn show(command: &Command) {
    println!("$ {}", line(command));
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        Some(format!("{}={:?}", name.display(), value?.to_string_lossy()))
    });
    let arguments = command.get_args().map(|word| word.display().to_string());
    let words: Vec<_> = variables
        .chain([program(command)])
        .chain(arguments)
        .collect();
    words.join(" ")
}

/// The name of the program, without the folder it is in.
fn program(command: &Command) -> String {
    let path = Path::new(command.get_program());
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.display().to_string()
}

fn judge(command: &Command, status: io::Result<ExitStatus>) -> Result<(), String> {
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}", program(command))),
        Err(error) => Err(format!("{}: {error}", program(command))),
    }
}

fn wait_within(child: &mut Child, limit: Duration) -> io::Result<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if start.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            let message = format!("not done after {} s", limit.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn copy_lines(from: impl Read, mut to: impl Write, mut each: impl FnMut(&str)) -> io::Result<()> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        each(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_decides() {
        assert_eq!(run(&mut Command::new("true")), Ok(()));
        assert_eq!(
            run(&mut Command::new("false")),
            Err("false: exit status: 1".to_owned())
        );
        assert!(run(&mut Command::new("no-such-program")).is_err());
    }

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/usr/bin/cargo");
        command
            .args(["build", "--lib"])
            .env("RUSTC", "rustc")
            .env_remove("CARGO");
        assert_eq!(line(&command), "RUSTC=\"rustc\" cargo build --lib");
    }

    #[test]
    fn a_command_over_its_limit_is_killed() {
        let start = Instant::now();
        let result = run_within(Command::new("sleep").arg("60"), Duration::from_millis(100));
        assert!(result.is_err_and(|reason| reason.contains("not done after")));
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_conversation_waits_for_what_it_answers() {
        let program = "echo -n 'name? '; read name; echo \"hello $name\"; read more; echo $more";
        let script = [("name? ", "world\n"), ("hello world", "bye\n"), ("bye", "")];
        let mut shell = Command::new("sh");
        let complete = Conversation {
            exchanges: 3,
            timed_out: false,
            result: Ok(()),
        };
        let limit = Duration::from_secs(30);
        let conversation = converse(shell.args(["-c", program]), limit, &script);
        assert_eq!(conversation, complete);
        let script = [("good day", "")];
        let conversation = converse(Command::new("echo").arg("hello"), limit, &script);
        assert_eq!(conversation.exchanges, 0);
    }

    #[test]
    fn a_conversation_over_its_limit_says_so() {
        let limit = Duration::from_millis(100);
        let conversation = converse(Command::new("sleep").arg("60"), limit, &[]);
        assert!(conversation.timed_out);
        assert!(conversation.result.is_err());
    }

    #[test]
    fn lines_are_copied_as_they_are_and_seen() {
        let text = b"one\n\ntw\xff".as_slice();
        let (mut copy, mut lines) = (Vec::new(), Vec::new());
        let result = copy_lines(text, &mut copy, |line| lines.push(line.to_owned()));
        assert!(result.is_ok());
        assert_eq!(copy, text);
        assert_eq!(lines, ["one\n", "\n", "tw\u{fffd}"]);
    }

    #[test]
    fn the_output_and_the_exit_status_of_a_piped_command_both_count() {
        assert_eq!(run_lines(&mut Command::new("true"), |_| ()), Ok(()));
        assert!(run_lines(&mut Command::new("false"), |_| ()).is_err());
    }

    #[test]
    fn a_piped_command_over_its_limit_is_killed_and_its_lines_were_seen() {
        let mut lines = Vec::new();
        let result = run_lines_within(
            Command::new("sh").args(["-c", "echo one; exec sleep 60"]),
            Duration::from_millis(500),
            |line| lines.push(line.to_owned()),
        );
        assert!(result.is_err_and(|reason| reason.contains("not done after")));
        assert_eq!(lines, ["one\n"]);
    }
}
