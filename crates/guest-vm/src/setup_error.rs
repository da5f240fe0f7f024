//! Why a machine could not be set up.

use alloc::vec::Vec;
use core::fmt;

use mapping_flags::FlagsError;
use nested_page_table::NewTableError;
use region_planner::{PlanError, Region};

use crate::error::VmError;

/// Why a machine could not be set up. Everything that was reserved or allocated was given back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupError<'a> {
    /// The flags of a region mean nothing, or the format cannot express them.
    Flags {
        /// The region's name.
        name: &'a str,
        /// What is wrong.
        reason: FlagsError,
    },
    /// The regions do not fit together: every fault that was found.
    Plan(Vec<PlanError<'a>>),
    /// Another live machine has the VMID: [`VmHal::claim_vmid`](crate::VmHal::claim_vmid) refused.
    VmidInUse {
        /// The VMID that was asked for.
        vmid: u16,
    },
    /// There is no page table.
    Table(NewTableError),
    /// A region could not be mapped or filled.
    Region {
        /// The region, or the first of several that were merged.
        region: Region<'a>,
        /// Why.
        reason: VmError,
    },
}

impl fmt::Display for SetupError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flags { name, reason } => write!(f, "{name}: {reason}"),
            Self::Plan(errors) => {
                let mut separator = "";
                for error in errors {
                    write!(f, "{separator}{error}")?;
                    separator = "; ";
                }
                Ok(())
            }
            Self::VmidInUse { vmid } => {
                write!(f, "VMID {vmid:#x} is another machine's: give each its own")
            }
            Self::Table(reason) => reason.fmt(f),
            Self::Region { region, reason } => write!(f, "{region}: {reason}"),
        }
    }
}

impl core::error::Error for SetupError<'_> {}
