//! The architectures, their modes, and the table format that follows.

use std::fmt;

use clap::ValueEnum;
use device_tree_regions::DeviceTree;
use guest_addr::GuestPhysAddr;
use mapping_flags::{FlagsError, MappingFlags};
use nested_page_table::{Format, Geometry};
use nested_paging_aarch64::{self as aarch64, Stage2};
use nested_paging_riscv64::{self as riscv64, GStage};
use nested_paging_x86_64::{self as x86_64, Ept, Npt, npt};

use crate::capabilities::Capabilities;

/// An architecture, as `--arch` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    Riscv64,
    Aarch64,
    #[value(name = "x86_64")]
    X86_64,
}

impl Architecture {
    /// The architecture of the CPUs in `tree`.
    pub(crate) fn of_tree(tree: &DeviceTree<'_>) -> Option<Self> {
        Some(match tree.architecture()? {
            device_tree_regions::Architecture::Riscv64 => Self::Riscv64,
            device_tree_regions::Architecture::Aarch64 => Self::Aarch64,
            device_tree_regions::Architecture::X86_64 => Self::X86_64,
            _ => return None,
        })
    }

    /// The modes that `auto` chooses from on a machine with `capabilities`, smallest first.
    ///
    /// The IPA is never wider than the machine's physical addresses (Arm DDI 0487, D8: `VTCR_EL2.T0SZ`
    /// and `ID_AA64MMFR0_EL1.PARange`), so that one below 40 bits has a mode of that width alone.
    pub(crate) fn auto_modes(self, capabilities: Capabilities<'_>) -> Vec<Mode> {
        let mut modes = self.usual_modes();
        modes.retain(|mode| mode.hardware(capabilities).is_ok());
        if modes.is_empty() && self == Self::Aarch64 {
            let bits = capabilities.aarch64().physical_address_range().bits();
            modes.extend(Mode::parse(&format!("ipa{bits}")));
        }
        modes
    }

    fn usual_modes(self) -> Vec<Mode> {
        match self {
            Self::Riscv64 => riscv64::Mode::AUTO
                .iter()
                .copied()
                .map(Mode::Riscv64)
                .collect(),
            Self::Aarch64 => aarch64::Mode::AUTO
                .iter()
                .copied()
                .map(Mode::Aarch64)
                .collect(),
            Self::X86_64 => x86_64::Mode::AUTO
                .iter()
                .copied()
                .map(Mode::X86_64)
                .collect(),
        }
    }

    /// The width of the widest address that some mode translates to itself.
    pub(crate) fn widest_identity_bits(self, capabilities: Capabilities<'_>) -> u32 {
        let widths = self
            .auto_modes(capabilities)
            .into_iter()
            .filter_map(|mode| {
                let hardware = mode.hardware(capabilities).ok()?;
                let input_bits = hardware.geometry().input_bits();
                Some(input_bits.min(hardware.output_bits(capabilities)))
            });
        widths.max().unwrap_or_default()
    }

    /// The first mode of the machine that translates the byte at `last`; the widest if none does.
    pub(crate) fn mode_for(
        self,
        last: GuestPhysAddr,
        capabilities: Capabilities<'_>,
    ) -> Option<Mode> {
        let modes = self.auto_modes(capabilities);
        let holding = modes.iter().find(|mode| last.fits_in(mode.input_bits()));
        holding.or(modes.last()).copied()
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Riscv64 => "riscv64",
            Self::Aarch64 => "aarch64",
            Self::X86_64 => "x86_64",
        })
    }
}

/// A mode of one of the architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Riscv64(riscv64::Mode),
    Aarch64(aarch64::Mode),
    /// Intel's.
    X86_64(x86_64::Mode),
    /// AMD's.
    Npt(npt::Mode),
}

impl Mode {
    /// The mode that `Display` writes as `name`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let riscv64 = name.parse().ok().map(Self::Riscv64);
        riscv64
            .or_else(|| name.parse().ok().map(Self::Aarch64))
            .or_else(|| name.parse().ok().map(Self::X86_64))
            .or_else(|| name.parse().ok().map(Self::Npt))
    }

    pub(crate) const fn architecture(self) -> Architecture {
        match self {
            Self::Riscv64(_) => Architecture::Riscv64,
            Self::Aarch64(_) => Architecture::Aarch64,
            Self::X86_64(_) | Self::Npt(_) => Architecture::X86_64,
        }
    }

    /// The modes of the same processors, smallest first. On x86_64 those of Intel's and AMD's are different.
    pub(crate) fn kin(self, capabilities: Capabilities<'_>) -> Vec<Self> {
        match self {
            Self::Npt(_) => npt::Mode::AUTO.iter().copied().map(Self::Npt).collect(),
            _ => self.architecture().auto_modes(capabilities),
        }
    }

    /// The width of guest-physical addresses.
    pub(crate) const fn input_bits(self) -> u32 {
        match self {
            Self::Riscv64(mode) => mode.input_bits(),
            Self::Aarch64(mode) => mode.input_bits(),
            Self::X86_64(mode) => mode.input_bits(),
            Self::Npt(mode) => mode.input_bits(),
        }
    }

    /// The format of the mode's tables, on a machine with `capabilities`.
    ///
    /// # Errors
    ///
    /// The machine does not have the mode.
    pub(crate) fn hardware(self, capabilities: Capabilities<'_>) -> Result<Hardware, String> {
        match self {
            Self::Riscv64(mode) => GStage::new(mode, capabilities.riscv64())
                .map(Hardware::Riscv64)
                .map_err(|error| error.to_string()),
            Self::Aarch64(mode) => Stage2::new(mode, capabilities.aarch64())
                .map(Hardware::Aarch64)
                .map_err(|error| error.to_string()),
            Self::X86_64(mode) => Ept::new(mode, capabilities.x86_64())
                .map(Hardware::X86_64)
                .map_err(|error| error.to_string()),
            Self::Npt(mode) => Npt::new(mode, capabilities.npt())
                .map(Hardware::Npt)
                .map_err(|error| error.to_string()),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Riscv64(mode) => mode.fmt(f),
            Self::Aarch64(mode) => mode.fmt(f),
            Self::X86_64(mode) => mode.fmt(f),
            Self::Npt(mode) => mode.fmt(f),
        }
    }
}

/// The table format of one architecture in one mode.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hardware {
    Riscv64(GStage),
    Aarch64(Stage2),
    X86_64(Ept),
    Npt(Npt),
}

/// Evaluates `$body` with `$format` bound to the format of the hardware, whichever it is.
macro_rules! with_format {
    ($hardware:expr, $format:ident => $body:expr) => {
        match $hardware {
            $crate::architecture::Hardware::Riscv64($format) => $body,
            $crate::architecture::Hardware::Aarch64($format) => $body,
            $crate::architecture::Hardware::X86_64($format) => $body,
            $crate::architecture::Hardware::Npt($format) => $body,
        }
    };
}
pub(crate) use with_format;

impl Hardware {
    pub(crate) fn geometry(&self) -> &Geometry {
        with_format!(self, format => format.geometry())
    }

    /// The width of host addresses: that of the tables' entries, or of the machine.
    pub(crate) fn output_bits(&self, capabilities: Capabilities<'_>) -> u32 {
        let bits = self.geometry().output_bits();
        capabilities.pa_bits().map_or(bits, |limit| bits.min(limit))
    }

    /// Whether a leaf can have `flags`.
    pub(crate) fn check_flags(&self, flags: MappingFlags) -> Result<(), FlagsError> {
        with_format!(self, format => format.check_flags(flags))
    }
}
