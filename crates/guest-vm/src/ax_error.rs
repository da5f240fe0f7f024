//! Conversion into the errors of ArceOS.

use axerrno::AxErrorKind;
use nested_page_table::{MapError, NewTableError, ProtectError, SetVmidError, UnmapError};

use crate::error::VmError;
use crate::setup_error::SetupError;

/// Bad flags, ranges and alignment are `InvalidInput`, missing frames `NoMemory`, what is in use
/// `AlreadyExists`, absent memory `NotFound`, device memory `BadAddress`, host memory that is not granted
/// `PermissionDenied`, an invalidation that failed `Io`, and what has to wait for one that failed before
/// `ResourceBusy`.
impl From<VmError> for AxErrorKind {
    fn from(error: VmError) -> Self {
        match error {
            VmError::Range(_) | VmError::NoAccess { .. } | VmError::Misaligned { .. } => {
                Self::InvalidInput
            }
            VmError::Map(reason) => map_kind(&reason),
            VmError::Unmap(UnmapError::OutOfMemory { .. })
            | VmError::Protect(ProtectError::OutOfMemory { .. })
            | VmError::NoFrames { .. }
            | VmError::NoBookkeepingMemory
            | VmError::NoIvcSpace { .. } => Self::NoMemory,
            VmError::VmidInUse { .. } => Self::AlreadyExists,
            VmError::Vmid(SetVmidError::NotInvalidated(_)) => Self::Io,
            VmError::Vmid(_) => Self::InvalidInput,
            VmError::NotInvalidated(_)
            | VmError::Unmap(UnmapError::NotInvalidated(_))
            | VmError::Protect(ProtectError::NotInvalidated(_)) => Self::Io,
            VmError::Unmap(UnmapError::Unsettled(_)) => Self::ResourceBusy,
            VmError::Unmap(_) | VmError::Protect(_) => Self::InvalidInput,
            VmError::Occupied { .. } => Self::AlreadyExists,
            VmError::IvcChannelInRange { .. } => Self::ResourceBusy,
            VmError::NotMapped { .. } | VmError::NoIvcChannel { .. } => Self::NotFound,
            VmError::DeviceMemory { .. } => Self::BadAddress,
            VmError::NotGranted { .. } => Self::PermissionDenied,
        }
    }
}

/// An overlap of regions and a VMID in use are `AlreadyExists`, a missing frame `NoMemory`, host memory that is not granted
/// `PermissionDenied`, all else `InvalidInput`.
impl From<SetupError<'_>> for AxErrorKind {
    fn from(error: SetupError<'_>) -> Self {
        match error {
            SetupError::Flags { .. } => Self::InvalidInput,
            SetupError::Plan(errors) => plan_kind(&errors),
            SetupError::VmidInUse { .. } => Self::AlreadyExists,
            SetupError::Table(NewTableError::OutOfMemory { .. }) => Self::NoMemory,
            SetupError::Table(_) => Self::InvalidInput,
            SetupError::Region { reason, .. } => reason.into(),
        }
    }
}

fn map_kind(error: &MapError) -> AxErrorKind {
    match error {
        MapError::OutOfMemory { .. } => AxErrorKind::NoMemory,
        MapError::Conflict { .. } => AxErrorKind::AlreadyExists,
        MapError::Unsettled(_) => AxErrorKind::ResourceBusy,
        MapError::NotInvalidated(_) => AxErrorKind::Io,
        _ => AxErrorKind::InvalidInput,
    }
}

fn plan_kind(errors: &[region_planner::PlanError<'_>]) -> AxErrorKind {
    match errors.first() {
        Some(
            region_planner::PlanError::Overlap { .. } | region_planner::PlanError::HostAlias { .. },
        ) => AxErrorKind::AlreadyExists,
        _ => AxErrorKind::InvalidInput,
    }
}
