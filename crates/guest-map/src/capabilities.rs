//! What the host's processors can do, as `--capabilities` says.

use std::fmt;

use nested_paging_aarch64::{self as aarch64, PhysicalAddressRange};
use nested_paging_riscv64 as riscv64;
use nested_paging_x86_64::{self as x86_64, npt};

use crate::architecture::Architecture;

/// One capability, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    Svpbmt,
    NoExecuteOnly,
    /// 16-bit VMIDs.
    Vmid16,
    /// The width of host addresses, in bits.
    PaBits(u32),
    /// What the tool takes for granted.
    ExecuteOnly,
}

impl Capability {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("pa-bits=")) {
            ("svpbmt", _) => Ok(Self::Svpbmt),
            ("execute-only", _) => Ok(Self::ExecuteOnly),
            ("no-execute-only", _) => Ok(Self::NoExecuteOnly),
            ("vmid16", _) => Ok(Self::Vmid16),
            (_, Some(bits)) => match bits.parse() {
                Ok(bits @ 32..=56) => Ok(Self::PaBits(bits)),
                _ => Err("pa-bits is from 32 to 56".into()),
            },
            _ => Err(
                "there are svpbmt (riscv64), vmid16 (aarch64), execute-only and no-execute-only \
                 (x86_64), and pa-bits=N"
                    .into(),
            ),
        }
    }

    /// The only architecture that has it.
    const fn architecture(self) -> Option<Architecture> {
        match self {
            Self::Svpbmt => Some(Architecture::Riscv64),
            Self::Vmid16 => Some(Architecture::Aarch64),
            Self::ExecuteOnly | Self::NoExecuteOnly => Some(Architecture::X86_64),
            Self::PaBits(_) => None,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Svpbmt => f.write_str("svpbmt"),
            Self::ExecuteOnly => f.write_str("execute-only"),
            Self::NoExecuteOnly => f.write_str("no-execute-only"),
            Self::Vmid16 => f.write_str("vmid16"),
            Self::PaBits(bits) => write!(f, "pa-bits={bits}"),
        }
    }
}

/// What most machines have, and what the command line says otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Capabilities<'c>(pub(crate) &'c [Capability]);

impl Capabilities<'_> {
    fn has(self, wanted: Capability) -> bool {
        self.0.contains(&wanted)
    }

    /// The width of host addresses, where the command line says it.
    pub(crate) fn pa_bits(self) -> Option<u32> {
        let bits = self.0.iter().map(|capability| match capability {
            Capability::PaBits(bits) => Some(*bits),
            _ => None,
        });
        bits.flatten().last()
    }

    /// The first that `architecture` does not have.
    pub(crate) fn foreign_to(
        self,
        architecture: Architecture,
    ) -> Option<(Capability, Architecture)> {
        let owned = self.0.iter();
        let mut owned =
            owned.filter_map(|&capability| Some((capability, capability.architecture()?)));
        owned.find(|(_, owner)| *owner != architecture)
    }

    pub(crate) fn riscv64(self) -> riscv64::Capabilities {
        riscv64::Capabilities::common().with_svpbmt(self.has(Capability::Svpbmt))
    }

    /// The architecture has six widths: the widest that is no wider than asked for.
    pub(crate) fn aarch64(self) -> aarch64::Capabilities {
        let range = match self.pa_bits() {
            Some(..36) => PhysicalAddressRange::Bits32,
            Some(36..40) => PhysicalAddressRange::Bits36,
            Some(40..42) => PhysicalAddressRange::Bits40,
            Some(42..44) => PhysicalAddressRange::Bits42,
            Some(44..48) => PhysicalAddressRange::Bits44,
            Some(48..) | None => PhysicalAddressRange::Bits48,
        };
        let capabilities = aarch64::Capabilities::common().with_physical_address_range(range);
        match self.has(Capability::Vmid16) {
            true => capabilities.with_16_bit_vmid(),
            false => capabilities,
        }
    }

    pub(crate) fn x86_64(self) -> x86_64::Capabilities {
        x86_64::Capabilities::common()
            .with_physical_address_bits(self.pa_bits().unwrap_or(52).min(52))
            .with_execute_only(!self.has(Capability::NoExecuteOnly))
    }

    /// Of AMD's processors.
    pub(crate) fn npt(self) -> npt::Capabilities {
        npt::Capabilities::common()
            .with_physical_address_bits(self.x86_64().physical_address_bits())
    }

    /// Whether the command line says that memory can be executed and not read.
    pub(crate) fn claims_execute_only(self) -> bool {
        self.has(Capability::ExecuteOnly)
    }
}
