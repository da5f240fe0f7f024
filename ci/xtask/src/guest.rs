//! `cargo xtask guest`: real, unmodified guests on our tables.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cargo_metadata::MetadataCommand;
use clap::ValueEnum;

use crate::apt;
use crate::cpio::Archive;
use crate::debian::Packages;
use crate::isa::Isa;
use crate::process::{self, Exchange};
use crate::report::{Report, Tally};
use crate::toolchain::Source;

/// A guest that has not powered itself off by then hangs.
const LIMIT: Duration = Duration::from_secs(480);
const MIB_2: u64 = 2 << 20;

/// What a user types into U-Boot: its version, and a megabyte of a word, whose CRC-32 is known.
const UBOOT: &[Exchange<'_>] = &[
    ("Hit any key to stop autoboot", "\r"),
    ("=> ", "version\r"),
    ("U-Boot 20", ""),
    (
        "=> ",
        "mw.l 0x88000000 0x6e657374 0x40000; crc32 0x88000000 0x100000\r",
    ),
    ("==> a09f8b6c", ""),
    ("=> ", "poweroff\r"),
    ("the guest powered off: ", ""),
];

/// What a user types into a shell: a file of 1.5 MiB, whose MD5 is known, and the end.
const LINUX: &[Exchange<'_>] = &[
    ("Linux version", ""),
    (
        "~ # ",
        "cd /tmp; seq 1 10000 > a; cat a a a a a a a a > b; cat b b b b > c\r",
    ),
    ("/tmp # ", "md5sum c\r"),
    ("90c024d8dbbfb0b0b9b8cde22f53fb4c  c", ""),
    ("/tmp # ", "poweroff -f\r"),
    ("the guest powered off: ", ""),
];

/// The options of `cargo xtask guest`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The guest
    guest: Guest,
    /// The architecture
    isa: Isa,
    /// Where the compiler and the targets come from
    #[arg(long, value_enum, default_value_t)]
    toolchain: Source,
}

/// A guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Guest {
    /// Debian's U-Boot: to its prompt, commands, power-off
    Uboot,
    /// Debian's Linux: to a busybox shell that writes and reads a file, power-off
    Linux,
}

/// A file for the hypervisor, under the name that it looks for.
type File = (&'static str, PathBuf);

/// Runs every guest that there is.
pub(crate) fn run_all(report: &mut Report) {
    for &isa in Isa::ALL.iter().filter(|isa| isa.has_guests()) {
        for guest in [Guest::Uboot, Guest::Linux] {
            let toolchain = Source::default();
            let options = Options {
                guest,
                isa,
                toolchain,
            };
            run(&options, report);
        }
    }
}

/// Runs one guest. Each exchange with it counts as one check, and so does its end.
pub(crate) fn run(options: &Options, report: &mut Report) {
    let Options {
        guest,
        isa,
        toolchain,
    } = *options;
    let name = format!("guest {} {}", guest.name(), isa.name());
    report.step(&name, || {
        boot(guest, isa, toolchain).unwrap_or_else(|reason| Err(reason).into())
    });
}

fn boot(guest: Guest, isa: Isa, toolchain: Source) -> Result<Tally, String> {
    if !isa.has_guests() {
        return Err(format!("{} has no such guest", isa.name()));
    }
    let image = isa.build(toolchain)?;
    let files = guest.files(isa)?;
    let mut command_line = "guest".to_owned();
    let mut loaders = Vec::new();
    let mut address = isa.files_at();
    for (name, path) in &files {
        let size = fs::metadata(path).map_err(|error| failed(path, &error))?;
        let size = size.len();
        command_line += &format!(" {name}={address:#x},{size:#x}");
        let path = path.display();
        loaders.push(format!("loader,file={path},addr={address:#x},force-raw=on"));
        address += size.next_multiple_of(MIB_2);
    }
    let mut command = isa.boot(isa.variants()[0], &image, &command_line)?;
    command.args(loaders.iter().flat_map(|loader| ["-device", loader]));
    let script = guest.script();
    let (done, result) = process::converse(&mut command, LIMIT, script);
    let mut tally = Tally::from(result);
    tally.passed += done as u64;
    if let Some((expected, _)) = script.get(done) {
        tally.fail(format!("the guest never said \"{expected}\""));
    }
    Ok(tally)
}

impl Guest {
    const fn name(self) -> &'static str {
        match self {
            Self::Uboot => "uboot",
            Self::Linux => "linux",
        }
    }

    const fn script(self) -> &'static [Exchange<'static>] {
        match self {
            Self::Uboot => UBOOT,
            Self::Linux => LINUX,
        }
    }

    /// Finds, fetches or makes what the guest consists of.
    fn files(self, isa: Isa) -> Result<Vec<File>, String> {
        let metadata = MetadataCommand::new().no_deps().exec();
        let metadata = metadata.map_err(|error| error.to_string())?;
        let sources = metadata.workspace_root.join(isa.guest_sources());
        let sources = sources.as_std_path();
        let folder = metadata.target_directory.join("guests").join(isa.name());
        let folder = folder.as_std_path();
        fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
        let device_tree = folder.join(format!("{}.dtb", self.name()));
        compile(&sources.join(format!("{}.dts", self.name())), &device_tree)?;
        let mut files = vec![
            ("vm", sources.join(format!("{}.toml", self.name()))),
            ("dtb", device_tree),
        ];
        match self {
            Self::Uboot => files.push(("kernel", uboot(isa)?)),
            Self::Linux => {
                let packages = Packages::new(&folder.join("debian"), isa.debian())?;
                let root = packages.fetch(&["busybox-static"], isa.debian_kernel())?;
                files.push(("kernel", kernel(&root)?));
                let ramdisk = folder.join("ramdisk");
                let contents = ramdisk_of(&root, &sources.join("init"))?;
                fs::write(&ramdisk, contents).map_err(|error| failed(&ramdisk, &error))?;
                files.push(("ramdisk", ramdisk));
            }
        }
        Ok(files)
    }
}

fn uboot(isa: Isa) -> Result<PathBuf, String> {
    let path = Path::new("/usr/lib/u-boot").join(isa.uboot());
    if !path.exists() {
        apt::install(&["u-boot-qemu"])?;
    }
    Ok(path)
}

fn compile(source: &Path, target: &Path) -> Result<(), String> {
    apt::ensure("dtc", &["device-tree-compiler"])?;
    let arguments = ["-q", "-I", "dts", "-O", "dtb", "-o"];
    process::run(Command::new("dtc").args(arguments).args([target, source]))
}

/// The kernel below `root`, whatever its version.
fn kernel(root: &Path) -> Result<PathBuf, String> {
    let folder = root.join("boot");
    let mut entries = fs::read_dir(&folder).map_err(|error| failed(&folder, &error))?;
    let kernel = entries.find_map(|entry| {
        let entry = entry.ok()?;
        let is_kernel = entry.file_name().to_string_lossy().starts_with("vmlinu");
        is_kernel.then(|| entry.path())
    });
    kernel.ok_or_else(|| format!("{} has no kernel", folder.display()))
}

/// Busybox of `root`, and `init`.
fn ramdisk_of(root: &Path, init: &Path) -> Result<Vec<u8>, String> {
    let read = |path: &Path| fs::read(path).map_err(|error| failed(path, &error));
    let mut archive = Archive::default();
    archive.directory("bin");
    archive.program("bin/busybox", &read(&root.join("usr/bin/busybox"))?);
    archive.program("init", &read(init)?);
    Ok(archive.finish())
}

fn failed(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
