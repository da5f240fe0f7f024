//! From the command line to plans: files are read, the architecture is found, errors are gathered.

use std::fs;
use std::io::{self, Read};

use device_tree_regions::DeviceTree;

use crate::architecture::{Architecture, Hardware, Mode};
use crate::capabilities::Capabilities;
use crate::cli::Options;
use crate::config::Config;
use crate::device_tree::{Findings, HostTree};
use crate::host_memory::HostMemory;
use crate::plan::{Planned, Target};
use crate::problem::{Failure, Fault, Problem, line_at, locate};
use crate::request::Request;
use crate::warning::Warning;

/// A machine whose configuration was accepted.
#[derive(Debug)]
pub(crate) struct Machine<'s> {
    /// The file of the configuration.
    pub(crate) file: &'s str,
    /// Its contents.
    pub(crate) text: &'s str,
    pub(crate) planned: Planned<'s, 's>,
    /// What is known about the host's memory.
    pub(crate) memory: &'s HostMemory,
}

/// Reads the configurations in `files` and plans them, then calls `use_machines` with all of them, in
/// the same order.
///
/// # Errors
///
/// - [`Failure::Usage`]: there is no architecture, or the mode is of another one.
/// - [`Failure::Refused`]: everything that is wrong with the files.
/// - Those of `use_machines`.
pub(crate) fn with_machines<R>(
    files: &[String],
    options: &Options,
    use_machines: impl FnOnce(&[Machine<'_>]) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let mode = parse_mode(&options.mode)?;
    if options.arch.is_none() && options.dtb.is_none() {
        return Err(Failure::Usage(
            "no architecture: give --arch, or a device tree with --dtb".into(),
        ));
    }
    check_mode(options.arch, mode)?;

    if files
        .iter()
        .chain(&options.dtb)
        .filter(|file| *file == "-")
        .count()
        > 1
    {
        return Err(Failure::Usage(
            "standard input can be read once: give - once".into(),
        ));
    }

    let mut problems = Vec::new();
    let blob = options
        .dtb
        .as_deref()
        .map(|file| (display_name(file), accept(read(file), &mut problems)));
    let tree = blob.as_ref().map(|(file, blob)| {
        let tree = parse_tree(file, blob.as_deref()?);
        accept(tree, &mut problems)
    });
    let texts: Vec<_> = files
        .iter()
        .map(|file| (display_name(file), accept(read_text(file), &mut problems)))
        .collect();
    let inputs = texts
        .iter()
        .filter_map(|(file, text)| Some(Input::new(file, text.as_deref()?)));
    let mut inputs: Vec<_> = inputs.collect();

    if let (Some(asked), Some(Some(host))) = (options.arch, &tree)
        && let Some(of_tree) = Architecture::of_tree(&host.tree).filter(|found| *found != asked)
    {
        return Err(Failure::Usage(format!(
            "--arch {asked} contradicts {}, whose CPUs are {of_tree}: leave out --arch",
            host.file
        )));
    }
    let known = options.arch.or_else(|| match tree {
        Some(Some(host)) => Architecture::of_tree(&host.tree),
        _ => None,
    });
    let Some(architecture) = known else {
        problems.extend(inputs.iter_mut().flat_map(Input::take_problems));
        return Err(without_architecture(tree.flatten(), problems));
    };
    check_mode(Some(architecture), mode)?;
    let capabilities = Capabilities(&options.capabilities);
    if let Some((capability, owner)) = capabilities.foreign_to(architecture) {
        let text = format!("{capability} is of {owner}, and the architecture is {architecture}");
        return Err(Failure::Usage(text));
    }
    if let Some(mode @ Mode::Npt(_)) = mode
        && capabilities.claims_execute_only()
    {
        let text = format!("execute-only is of Intel's processors, and {mode} is a mode of AMD's");
        return Err(Failure::Usage(text));
    }

    // A tree that is broken says nothing about paths: that it is broken is problem enough.
    if tree.is_none_or(|tree| tree.is_some()) {
        for input in &mut inputs {
            input.look_up_paths(tree.flatten(), architecture, capabilities);
        }
    }
    let memory = HostMemory::of(tree.flatten().map(|host| host.tree), &options.hypervisor);
    let target = Target {
        architecture,
        mode,
        capabilities,
        memory: &memory,
    };
    with_plans(&inputs, target, |machines, more| {
        problems.extend(more);
        if options.strict {
            let refused = machines
                .iter()
                .flat_map(|machine| machine.refused_warnings(options));
            problems.extend(refused);
        }
        match problems.is_empty() {
            true => use_machines(machines),
            false => Err(Failure::Refused(problems)),
        }
    })
}

/// Reads a device tree, and calls `use_tree` with it.
///
/// # Errors
///
/// The file cannot be read, or is no device tree; and those of `use_tree`.
pub(crate) fn with_tree<R>(
    file: &str,
    use_tree: impl FnOnce(DeviceTree<'_>) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let refuse = |[problem]: [Problem; 1]| Failure::from(problem);
    let blob = read(file).map_err(refuse)?;
    let host = parse_tree(display_name(file), &blob).map_err(refuse)?;
    use_tree(host.tree)
}

/// Plans all configurations, and calls `use_plans` with those that have a plan and with everything
/// that is wrong with any of them.
fn with_plans<R>(
    inputs: &[Input<'_>],
    target: Target<'_>,
    use_plans: impl FnOnce(&[Machine<'_>], Vec<Problem>) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let hardware = base_hardware(target)?;
    let requests = inputs.iter().map(|input| {
        let check_flags = |flags| hardware.check_flags(flags);
        Request::new(
            &input.config,
            &input.findings,
            target.architecture,
            check_flags,
        )
    });
    let mut requests: Vec<_> = requests.collect();
    let mut machines = Vec::new();
    let mut problems = Vec::new();
    for (input, request) in inputs.iter().zip(&mut requests) {
        let planned = Planned::new(&input.config, &input.findings, request, target);
        let mut faults = input.faults.clone();
        let (file, text) = (input.file, input.text);
        match planned {
            Ok(planned) => machines.push(Machine {
                file,
                text,
                planned,
                memory: target.memory,
            }),
            Err(more) => faults.extend(more),
        }
        problems.extend(locate(file, input.text, faults));
    }
    use_plans(&machines, problems)
}

/// A configuration that was read, with what it needs of the device tree.
struct Input<'i> {
    file: &'i str,
    text: &'i str,
    config: Config<'i>,
    findings: Findings,
    faults: Vec<Fault>,
}

impl<'i> Input<'i> {
    fn new(file: &'i str, text: &'i str) -> Self {
        let (config, faults) = Config::read(text);
        Self {
            file,
            text,
            config,
            findings: Findings::default(),
            faults,
        }
    }

    fn look_up_paths(
        &mut self,
        tree: Option<HostTree<'_>>,
        architecture: Architecture,
        capabilities: Capabilities<'_>,
    ) {
        match Findings::of(&self.config, tree, architecture, capabilities) {
            Ok(findings) => self.findings = findings,
            Err(faults) => self.faults.extend(faults),
        }
    }

    fn take_problems(&mut self) -> Vec<Problem> {
        locate(self.file, self.text, std::mem::take(&mut self.faults))
    }
}

impl Machine<'_> {
    /// A problem at an offset of the file.
    pub(crate) fn problem_at(&self, offset: usize, text: String) -> Problem {
        Problem {
            file: self.file.into(),
            line: Some(line_at(self.text, offset)),
            text,
        }
    }

    fn refused_warnings(&self, options: &Options) -> impl Iterator<Item = Problem> {
        let warnings = self.planned.warnings();
        let warnings = warnings.filter(|warning| !options.allows(warning));
        warnings.map(|warning| refused_warning(self.file, &warning))
    }
}

/// What `--strict` makes of a warning.
pub(crate) fn refused_warning(file: &str, warning: &Warning) -> Problem {
    Problem::of_file(file, format!("{warning} (refused by --strict)"))
}

/// The value, or `None` when there were problems, which go to `problems`.
fn accept<T, E: IntoIterator<Item = Problem>>(
    result: Result<T, E>,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    result.map_err(|found| problems.extend(found)).ok()
}

/// How messages name a file; `-` is standard input.
pub(crate) fn display_name(file: &str) -> &str {
    match file {
        "-" => "<stdin>",
        file => file,
    }
}

fn read(file: &str) -> Result<Vec<u8>, [Problem; 1]> {
    let contents = match file {
        "-" => {
            let mut contents = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut contents);
            read.map(|_| contents)
        }
        file => fs::read(file),
    };
    contents.map_err(|error| {
        let text = format!("cannot be read: {error}");
        [Problem::of_file(display_name(file), text)]
    })
}

fn read_text(file: &str) -> Result<String, [Problem; 1]> {
    String::from_utf8(read(file)?).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        [Problem::of_file(
            display_name(file),
            format!("not TOML: byte {offset:#x} is not UTF-8"),
        )]
    })
}

fn parse_tree<'t>(file: &'t str, blob: &'t [u8]) -> Result<HostTree<'t>, [Problem; 1]> {
    match DeviceTree::new(blob) {
        Ok(tree) => Ok(HostTree { file, tree }),
        Err(error) => Err([Problem::of_file(file, error.to_string())]),
    }
}

fn parse_mode(name: &str) -> Result<Option<Mode>, Failure> {
    if name == "auto" {
        return Ok(None);
    }
    let mode = Mode::parse(name).map(Some);
    mode.ok_or_else(|| Failure::Usage(no_such_mode(name)))
}

/// What is wrong with a mode that there is not.
pub(crate) fn no_such_mode(name: &str) -> String {
    format!(
        "there is no mode {name:?}: use auto, sv39x4, sv48x4, sv57x4, ipa32 to ipa48, ept4, ept5, \
         npt4 or npt5"
    )
}

fn check_mode(architecture: Option<Architecture>, mode: Option<Mode>) -> Result<(), Failure> {
    match architecture.zip(mode) {
        Some((architecture, mode)) if mode.architecture() != architecture => {
            let of = mode.architecture();
            let text = format!("{mode} is a mode of {of}, and the architecture is {architecture}");
            Err(Failure::Usage(text))
        }
        _ => Ok(()),
    }
}

/// A tree that was read but does not tell is a matter of the options; one that was not is refused.
fn without_architecture(tree: Option<HostTree<'_>>, problems: Vec<Problem>) -> Failure {
    match tree {
        Some(HostTree { file, .. }) => Failure::Usage(format!(
            "the CPUs in {file} do not tell the architecture: give --arch"
        )),
        None => Failure::Refused(problems),
    }
}

/// What flags mean does not depend on which mode of a processor it is.
fn base_hardware(target: Target<'_>) -> Result<Hardware, Failure> {
    let modes = target.modes();
    let mut hardware = modes.iter().map(|mode| mode.hardware(target.capabilities));
    let found = hardware.find_map(Result::ok);
    found.ok_or_else(|| {
        let architecture = target.architecture;
        Failure::Usage(format!(
            "{architecture} has no mode with these capabilities"
        ))
    })
}
