//! What was set up as asked, but may not be what was meant.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysRange};
use mapping_flags::MappingFlags;

use crate::config::{MapType, MemoryRegion, Population};

/// What happened when a machine was set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetupReport {
    /// Everything that may not be what was meant. The log has it too.
    pub warnings: Vec<SetupWarning>,
}

/// Something that was set up as asked, but may not be what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupWarning {
    /// A region of RAM has the flag `DEVICE`. It was left out.
    DeviceFlagInMemoryRegion {
        /// The region's name.
        name: String,
        /// Its first guest byte.
        gpa: GuestPhysAddr,
        /// Its flags.
        flags: MappingFlags,
    },
    /// An identical region is not free on the host. It was mapped all the same, and is neither
    /// zeroed nor given back.
    IdenticalNotReserved {
        /// The region's name.
        name: String,
        /// The host memory that was asked for.
        host: HostPhysRange,
    },
    /// A region has a setting that means nothing for its map type.
    SettingWithoutEffect {
        /// The region's name.
        name: String,
        /// The setting.
        setting: RegionSetting,
        /// What the region is instead.
        map_type: MapType,
    },
    /// The guest reaches bytes that no passthrough region asked for.
    PageExposure {
        /// The pages of one mapping.
        guest: GuestPhysRange,
        /// The number of bytes.
        bytes: u64,
        /// The regions that the mapping was made of.
        sources: Vec<String>,
    },
    /// A region of RAM is unaligned and was grown to whole pages.
    RegionRounded {
        /// The region's name.
        name: String,
        /// Its whole pages.
        pages: GuestPhysRange,
    },
}

/// A setting of a [`MemoryRegion`] that counts for some map types only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegionSetting {
    /// [`Population::OnFirstUse`], which counts for [`MapType::Alloc`].
    OnFirstUse,
    /// [`MemoryRegion::keep_contents`], which counts for [`MapType::Identical`], and goes without saying for
    /// [`MapType::Reserved`].
    KeepContents,
}

impl SetupWarning {
    /// The name of the warning, such as `page-exposure`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::DeviceFlagInMemoryRegion { .. } => "device-flag-in-memory-region",
            Self::IdenticalNotReserved { .. } => "identical-not-reserved",
            Self::SettingWithoutEffect { .. } => "setting-without-effect",
            Self::PageExposure { .. } => "page-exposure",
            Self::RegionRounded { .. } => "region-rounded",
        }
    }

    pub(crate) fn device_flag(region: &MemoryRegion<'_>, flags: MappingFlags) -> Self {
        Self::DeviceFlagInMemoryRegion {
            name: region.name.to_string(),
            gpa: region.gpa,
            flags,
        }
    }

    /// What `region` asks for in vain.
    pub(crate) fn of_settings(region: &MemoryRegion<'_>) -> Option<Self> {
        let setting = match region.map_type {
            MapType::Alloc if region.keep_contents => RegionSetting::KeepContents,
            MapType::Identical | MapType::Reserved if region.population != Population::AtOnce => {
                RegionSetting::OnFirstUse
            }
            _ => return None,
        };
        Some(Self::SettingWithoutEffect {
            name: region.name.to_string(),
            setting,
            map_type: region.map_type,
        })
    }

    pub(crate) fn of_plan(warning: &region_planner::Warning<'_, '_>) -> Option<Self> {
        match warning {
            region_planner::Warning::PageExposure { mapping, bytes } => Some(Self::PageExposure {
                guest: mapping.guest(),
                bytes: *bytes,
                sources: mapping
                    .sources()
                    .map(|source| source.name().to_string())
                    .collect(),
            }),
            region_planner::Warning::RegionRounded { region, pages } => Some(Self::RegionRounded {
                name: region.name().to_string(),
                pages: *pages,
            }),
            _ => None,
        }
    }
}

impl fmt::Display for SetupWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeviceFlagInMemoryRegion { name, gpa, flags } => write!(
                f,
                "{name} at {gpa} has flags {flags}: DEVICE is not for RAM, it is left out"
            ),
            Self::IdenticalNotReserved { name, host } => write!(
                f,
                "{name}: host {host} is not free; it is mapped all the same, and not zeroed"
            ),
            Self::SettingWithoutEffect { name, setting, .. } => match setting {
                RegionSetting::OnFirstUse => write!(
                    f,
                    "{name} is not allocated: it is mapped at once, not on first use"
                ),
                RegionSetting::KeepContents => write!(
                    f,
                    "{name} is allocated: it is zeroed, there are no contents to keep"
                ),
            },
            Self::PageExposure {
                guest,
                bytes,
                sources,
            } => {
                write!(
                    f,
                    "the guest reaches {bytes:#x} bytes in {guest} that nobody asked for:"
                )?;
                sources.iter().try_for_each(|source| write!(f, " {source}"))
            }
            Self::RegionRounded { name, pages } => {
                write!(f, "{name} is not aligned to 4 KiB and was grown to {pages}")
            }
        }
    }
}
