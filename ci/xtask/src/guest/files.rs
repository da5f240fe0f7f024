//! What guests consist of: found, fetched or made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Guest;
use crate::cpio::Archive;
use crate::debian::{self, Packages, Scope};
use crate::isa::Isa;
use crate::process;
use crate::tool;
use crate::workspace;

const INIT: &[u8] = include_bytes!("init");
const PARALLEL: &[u8] = include_bytes!("parallel");
/// U-Boot's ramdisk has this many lines of 8 bytes, no two alike.
const LINES: u32 = 0x2_0000;

/// A file for the hypervisor, under the name that it looks for.
pub(super) type File = (&'static str, PathBuf);

/// The files of `guest` for `isa`.
///
/// # Errors
///
/// When one of them cannot be found, fetched or made.
pub(super) fn files(guest: Guest, isa: Isa) -> Result<Vec<File>, String> {
    let sources = workspace::root()?.join(isa.guest_sources());
    let folder = workspace::target_directory()?.join("guests");
    let folder = folder.join(isa.name());
    fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
    let name = guest.sources();
    let device_tree = folder.join(format!("{name}.dtb"));
    compile(&sources.join(format!("{name}.dts")), &device_tree)?;
    let (kernel, contents) = match guest {
        Guest::Uboot => (uboot(isa)?, lines()),
        Guest::Linux | Guest::LinuxSmp | Guest::LinuxSmpBlocks => linux(isa)?,
    };
    let ramdisk = folder.join(format!("{name}-ramdisk"));
    fs::write(&ramdisk, contents).map_err(|error| failed(&ramdisk, &error))?;
    Ok(vec![
        ("vm", sources.join(format!("{name}.toml"))),
        ("dtb", device_tree),
        ("kernel", kernel),
        ("ramdisk", ramdisk),
    ])
}

fn compile(source: &Path, target: &Path) -> Result<(), String> {
    let arguments = ["-q", "-I", "dts", "-O", "dtb", "-o"];
    process::run(tool::DTC.command()?.args(arguments).args([target, source]))
}

fn uboot(isa: Isa) -> Result<PathBuf, String> {
    let root = debian::native()?.fetch(&["u-boot-qemu"], Scope::Alone)?;
    Ok(root.join("usr/lib/u-boot").join(isa.uboot()))
}

fn lines() -> Vec<u8> {
    let lines = (0..LINES).map(|number| format!("{number:07x}\n"));
    lines.collect::<String>().into_bytes()
}

/// The kernel, and what is in its ramdisk.
fn linux(isa: Isa) -> Result<(PathBuf, Vec<u8>), String> {
    let packages = Packages::of(isa.debian());
    let kernel_root = packages.fetch_kernel(isa.debian_kernel())?;
    let busybox_root = packages.fetch(&["busybox-static"], Scope::Alone)?;
    Ok((kernel(&kernel_root)?, ramdisk(&busybox_root)?))
}

/// The kernel below `root`, whatever its version: in boot, or from Debian 14 on beside its modules.
fn kernel(root: &Path) -> Result<PathBuf, String> {
    let modules = entries(&root.join("usr/lib/modules"));
    let folders = modules.into_iter().chain([root.join("boot")]);
    let mut files = folders.flat_map(|folder| entries(&folder));
    let kernel = files.find(|path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with("vmlinu")
    });
    kernel.ok_or_else(|| format!("{} has no kernel", root.display()))
}

/// What is in `folder`; nothing if there is no such folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// Busybox of `root`, a first program that starts its shell, and one that keeps two CPUs busy.
fn ramdisk(root: &Path) -> Result<Vec<u8>, String> {
    let busybox = root.join("usr/bin/busybox");
    let busybox = fs::read(&busybox).map_err(|error| failed(&busybox, &error))?;
    let mut archive = Archive::default();
    archive.directory("bin");
    archive.program("bin/busybox", &busybox);
    archive.program("bin/parallel", PARALLEL);
    archive.program("init", INIT);
    Ok(archive.finish())
}

/// What became of the file `path`.
pub(super) fn failed(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_pages_of_the_ramdisk_are_alike() {
        let lines = lines();
        assert_eq!(lines.len(), 1 << 20);
        assert!(lines.starts_with(b"0000000\n0000001\n"));
        assert!(lines.ends_with(b"001ffff\n"));
    }
}
