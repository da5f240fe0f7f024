//! What the command line gives to decode: `NAME=VALUE`.

use std::ops::RangeInclusive;

use crate::architecture::Architecture;
use crate::cli::parse_number;

/// A register or an entry with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) name: Name,
    pub(crate) value: u64,
}

/// What can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Entry,
    Hgatp,
    Scause,
    Htval,
    Stval,
    Htinst,
    VtcrEl2,
    VttbrEl2,
    EsrEl2,
    HpfarEl2,
    FarEl2,
    Eptp,
    /// The exit qualification of an EPT violation.
    Qualification,
    /// The guest-physical address of an EPT violation.
    Gpa,
    Ncr3,
    Exitinfo1,
    Exitinfo2,
}

impl Name {
    pub(crate) const ALL: [Self; 17] = [
        Self::Entry,
        Self::Hgatp,
        Self::Scause,
        Self::Htval,
        Self::Stval,
        Self::Htinst,
        Self::VtcrEl2,
        Self::VttbrEl2,
        Self::EsrEl2,
        Self::HpfarEl2,
        Self::FarEl2,
        Self::Eptp,
        Self::Qualification,
        Self::Gpa,
        Self::Ncr3,
        Self::Exitinfo1,
        Self::Exitinfo2,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Hgatp => "hgatp",
            Self::Scause => "scause",
            Self::Htval => "htval",
            Self::Stval => "stval",
            Self::Htinst => "htinst",
            Self::VtcrEl2 => "vtcr_el2",
            Self::VttbrEl2 => "vttbr_el2",
            Self::EsrEl2 => "esr_el2",
            Self::HpfarEl2 => "hpfar_el2",
            Self::FarEl2 => "far_el2",
            Self::Eptp => "eptp",
            Self::Qualification => "qualification",
            Self::Gpa => "gpa",
            Self::Ncr3 => "ncr3",
            Self::Exitinfo1 => "exitinfo1",
            Self::Exitinfo2 => "exitinfo2",
        }
    }

    /// Whose register it is; an entry is anybody's.
    pub(crate) const fn architecture(self) -> Option<Architecture> {
        match self {
            Self::Entry => None,
            Self::Hgatp | Self::Scause | Self::Htval | Self::Stval | Self::Htinst => {
                Some(Architecture::Riscv64)
            }
            Self::VtcrEl2 | Self::VttbrEl2 | Self::EsrEl2 | Self::HpfarEl2 | Self::FarEl2 => {
                Some(Architecture::Aarch64)
            }
            Self::Eptp
            | Self::Qualification
            | Self::Gpa
            | Self::Ncr3
            | Self::Exitinfo1
            | Self::Exitinfo2 => Some(Architecture::X86_64),
        }
    }

    /// Upper or lower case, with or without `_EL2`, `-` for `_`; and what people also write.
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase().replace('-', "_");
        let other = match text.as_str() {
            "pte" | "descriptor" => Some(Self::Entry),
            "exit_qualification" => Some(Self::Qualification),
            "guest_physical_address" => Some(Self::Gpa),
            "n_cr3" => Some(Self::Ncr3),
            _ => None,
        };
        let is_meant = |name: &Self| {
            let name = name.as_str();
            name == text || name.strip_suffix("_el2") == Some(&text)
        };
        other.or_else(|| Self::ALL.into_iter().find(is_meant))
    }
}

impl Given {
    /// `NAME=VALUE`, where the value is decimal or begins with `0x`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or("write NAME=VALUE, such as esr_el2=0x93c28047")?;
        let name = Name::parse(name).ok_or_else(|| {
            let names = Name::ALL.map(Name::as_str);
            format!("there are {}", names.join(", "))
        })?;
        let value = parse_number(value).ok_or_else(|| hint(value))?;
        Ok(Self { name, value })
    }
}

/// Debuggers and logs leave out `0x`.
fn hint(value: &str) -> String {
    match u64::from_str_radix(value, 16) {
        Ok(meant) => format!("not a number: was {meant:#x} meant?"),
        Err(_) => "not a number of 64 bits: write it like 0x93c28047".into(),
    }
}

/// Which tables an entry is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    Riscv { levels: u8 },
    Aarch64,
    Ept { levels: u8 },
    Nested { levels: u8 },
}

impl Tables {
    /// The tables of a mode; `None` for `auto`, and for what is no mode.
    pub(crate) fn of_mode(mode: &str) -> Option<Self> {
        Some(match mode {
            "sv39x4" => Self::Riscv { levels: 3 },
            "sv48x4" => Self::Riscv { levels: 4 },
            "sv57x4" => Self::Riscv { levels: 5 },
            "ept4" => Self::Ept { levels: 4 },
            "ept5" => Self::Ept { levels: 5 },
            "npt4" => Self::Nested { levels: 4 },
            "npt5" => Self::Nested { levels: 5 },
            _ => {
                let width: u8 = mode.strip_prefix("ipa")?.parse().ok()?;
                (32..=48).contains(&width).then_some(Self::Aarch64)?
            }
        })
    }

    /// The levels as the architecture numbers them.
    pub(super) const fn levels(self) -> RangeInclusive<u8> {
        match self {
            Self::Riscv { levels } => 0..=levels - 1,
            Self::Aarch64 => 0..=3,
            Self::Ept { levels } | Self::Nested { levels } => 1..=levels,
        }
    }

    /// The level of pages of 4 KiB.
    pub(super) const fn page_level(self) -> u8 {
        match self {
            Self::Riscv { .. } => 0,
            Self::Aarch64 => 3,
            Self::Ept { .. } | Self::Nested { .. } => 1,
        }
    }
}
