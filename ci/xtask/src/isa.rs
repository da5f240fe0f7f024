//! The architectures that have a test hypervisor, and the emulators that play them.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::bochs;
use crate::process;
use crate::tool;
use crate::toolchain::{Source, Toolchains};
use crate::workspace;

/// An architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isa {
    /// QEMU's virt machine with the hypervisor extension
    Riscv64,
    /// QEMU's virt machine with EL2
    Aarch64,
    /// Bochs with EPT
    #[value(name = "x86_64")]
    X86_64,
}

/// One way to set up the emulated machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    /// What is special about it.
    pub(crate) name: &'static str,
    /// The processor, as the emulator spells it.
    pub(crate) processor: &'static str,
}

impl Isa {
    /// Every architecture.
    pub(crate) const ALL: &[Self] = &[Self::Riscv64, Self::Aarch64, Self::X86_64];

    /// The name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Riscv64 => "riscv64",
            Self::Aarch64 => "aarch64",
            Self::X86_64 => "x86_64",
        }
    }

    const fn package(self) -> &'static str {
        match self {
            Self::Riscv64 => "test-hypervisor-riscv64",
            Self::Aarch64 => "test-hypervisor-aarch64",
            Self::X86_64 => "test-hypervisor-x86-64",
        }
    }

    const fn target(self) -> &'static str {
        match self {
            Self::Riscv64 => "riscv64gc-unknown-none-elf",
            Self::Aarch64 => "aarch64-unknown-none",
            Self::X86_64 => "x86_64-unknown-none",
        }
    }

    /// What the compiler has to be told beyond the target's defaults.
    const fn rustflags(self) -> &'static str {
        match self {
            Self::Riscv64 | Self::Aarch64 | Self::X86_64 => "-C relocation-model=static",
        }
    }

    /// The machines that the suite runs on.
    pub(crate) const fn variants(self) -> &'static [Variant] {
        match self {
            Self::Riscv64 => &[
                Variant {
                    name: "Svpbmt",
                    processor: "rv64,h=true,svpbmt=true",
                },
                Variant {
                    name: "no extensions",
                    processor: "rv64,h=true",
                },
            ],
            Self::Aarch64 => &[
                Variant {
                    name: "Armv8.0",
                    processor: "cortex-a72",
                },
                Variant {
                    name: "every extension",
                    processor: "max",
                },
            ],
            Self::X86_64 => &[
                Variant {
                    name: "leaves up to 1 GiB",
                    processor: "corei7_skylake_x",
                },
                Variant {
                    name: "leaves up to 2 MiB",
                    processor: "corei7_sandy_bridge_2600k",
                },
            ],
        }
    }

    /// Whether there are real guests for it.
    pub(crate) const fn has_guests(self) -> bool {
        match self {
            Self::Riscv64 => true,
            Self::Aarch64 => true,
            Self::X86_64 => false,
        }
    }

    /// The folder with VM files and device trees of guests, in the workspace.
    pub(crate) const fn guest_sources(self) -> &'static str {
        match self {
            Self::Riscv64 => "arch/riscv64/test-hypervisor/guests",
            Self::Aarch64 => "arch/aarch64/test-hypervisor/guests",
            Self::X86_64 => "arch/x86_64/test-hypervisor/guests",
        }
    }

    /// Where files for the hypervisor go: RAM that it leaves alone.
    pub(crate) const fn files_at(self) -> u64 {
        match self {
            Self::Riscv64 => 0xc000_0000,
            Self::Aarch64 => 0x8000_0000,
            Self::X86_64 => 0x4000_0000,
        }
    }

    /// The image of Debian's U-Boot, below its folder.
    pub(crate) const fn uboot(self) -> &'static str {
        match self {
            Self::Riscv64 => "qemu-riscv64_smode/u-boot.bin",
            Self::Aarch64 => "qemu_arm64/u-boot.bin",
            Self::X86_64 => "qemu-x86_64/u-boot.rom",
        }
    }

    /// Debian's name for the architecture.
    pub(crate) const fn debian(self) -> &'static str {
        match self {
            Self::Riscv64 => "riscv64",
            Self::Aarch64 => "arm64",
            Self::X86_64 => "amd64",
        }
    }

    /// Debian's package that depends on the current kernel.
    pub(crate) const fn debian_kernel(self) -> &'static str {
        match self {
            Self::Riscv64 => "linux-image-riscv64",
            Self::Aarch64 => "linux-image-cloud-arm64",
            Self::X86_64 => "linux-image-cloud-amd64",
        }
    }

    /// A headless machine of `variant` that runs `image` with `command_line`.
    ///
    /// # Errors
    ///
    /// When there is no emulator: the message says what to install.
    pub(crate) fn boot(
        self,
        variant: Variant,
        image: &Path,
        command_line: &str,
    ) -> Result<Command, String> {
        match self {
            Self::X86_64 => bochs::command(variant.processor, image, command_line),
            Self::Riscv64 => {
                let mut command = tool::QEMU_RISCV64.command()?;
                command
                    .args(["-M", "virt", "-cpu", variant.processor])
                    .args(["-m", "2G", "-smp", "2", "-bios", "default"])
                    .args(["-nographic", "-monitor", "none", "-serial", "stdio"])
                    .args(["-no-reboot", "-nic", "none"])
                    .args(["-append", command_line, "-kernel"])
                    .arg(image);
                Ok(command)
            }
            Self::Aarch64 => {
                let mut command = tool::QEMU_AARCH64.command()?;
                command
                    .args(["-M", "virt,virtualization=on,gic-version=2"])
                    .args(["-cpu", variant.processor, "-m", "2G", "-smp", "2"])
                    .args(["-nographic", "-monitor", "none", "-serial", "stdio"])
                    .args(["-no-reboot", "-nic", "none", "-semihosting"])
                    .args(["-append", command_line, "-kernel"])
                    .arg(image);
                Ok(command)
            }
        }
    }

    /// Builds the test hypervisor: the path of its image.
    ///
    /// # Errors
    ///
    /// When there is no compiler for the target, or the build fails.
    pub(crate) fn build(self, source: Source) -> Result<PathBuf, String> {
        let targets = [self.target()];
        let toolchains = Toolchains::new(source, &targets);
        let toolchain = toolchains.find(self.target())?;
        let folder = workspace::target_directory()?.join("machines");
        process::run(
            toolchain
                .cargo_build_programs(self.rustflags())?
                .args(["--release", "--package", self.package()])
                .args(["--target", self.target(), "--target-dir"])
                .arg(&folder),
        )?;
        let image = folder
            .join(self.target())
            .join("release")
            .join(self.package());
        Ok(image)
    }
}
