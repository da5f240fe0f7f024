//! How messages name an entry of the configuration.

use std::fmt;

use guest_addr::{GuestPhysRange, HostPhysRange};
use region_planner::{Origin, OverlapReason, PlanError, Region, RegionKind};

use crate::config::Place;
use crate::problem::Fault;

/// A region with the place of its row:
/// `passthrough_devices[3] "uart" (passthrough, guest 0x1000-0x1fff, host 0x9000-0x9fff)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'e, 'a> {
    region: &'e Region<'a>,
    place: Place,
}

impl<'e, 'a> Entry<'e, 'a> {
    pub(crate) const fn new(region: &'e Region<'a>, place: Place) -> Self {
        Self { region, place }
    }

    /// `region` has been planned, and `places` are those of the planner's input.
    pub(crate) fn of(region: &'e Region<'a>, places: &[Place]) -> Option<Self> {
        let place = *places.get(region.index())?;
        Some(Self { region, place })
    }

    /// The row.
    pub(crate) const fn place(&self) -> Place {
        self.place
    }

    /// Where the row stands in its file.
    pub(crate) const fn offset(&self) -> usize {
        self.place.offset as usize
    }

    /// The guest bytes that were asked for.
    pub(crate) fn guest(&self) -> Option<GuestPhysRange> {
        self.region.requested()
    }

    /// The host bytes behind them, where the entry says so.
    pub(crate) fn host(&self) -> Option<HostPhysRange> {
        let region = self.region;
        HostPhysRange::from_start_size(region.host()?, region.length()).ok()
    }

    fn write_name(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, place) = (self.region.name(), self.place);
        match self.region.origin() {
            Origin::DeviceTree => write!(f, "{place} {name}"),
            Origin::Explicit if name == place.to_string() => write!(f, "{place}"),
            Origin::Explicit => write!(f, "{place} {name:?}"),
        }
    }
}

impl fmt::Display for Entry<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = self.region;
        self.write_name(f)?;
        write!(f, " ({}, guest ", region.kind())?;
        match region.requested() {
            Some(range) => write!(f, "{range}")?,
            None => write!(f, "{} + {:#x}", region.guest(), region.length())?,
        }
        if let Some(host) = region.host() {
            match HostPhysRange::from_start_size(host, region.length()) {
                Ok(range) => write!(f, ", host {range}")?,
                Err(_) => write!(f, ", host {host} + {:#x}", region.length())?,
            }
        }
        if region.kind().is_ram() {
            write!(f, ", flags {}", region.flags())?;
        }
        f.write_str(")")
    }
}

/// What the planner found, in the words of the configuration.
pub(crate) fn describe(error: &PlanError<'_>, places: &[Place]) -> Fault {
    let described = match error {
        PlanError::ZeroLength { region } => with_entry(
            region,
            places,
            "has no bytes: give it a length or remove it",
        ),
        PlanError::GuestPastEnd { region } => {
            with_entry(region, places, "runs past 2^64 in the guest: shorten it")
        }
        PlanError::HostPastEnd { region } => {
            with_entry(region, places, "runs past 2^64 on the host: shorten it")
        }
        PlanError::PageOffset { region } => with_entry(region, places, &page_offset(region)),
        PlanError::Overlap {
            first,
            second,
            reason,
        } => Entry::of(first, places).and_then(|other| {
            let advice = advice(first, second, *reason);
            let text = format!("and {other} overlap in a 4 KiB page: {advice}");
            with_entry(second, places, &text)
        }),
        PlanError::HostAlias { ram, device, host } => Entry::of(ram, places).and_then(|ram| {
            let text = format!(
                "and {ram} both lead to host {host}: one page cannot be RAM and a device; \
                     correct an address"
            );
            with_entry(device, places, &text)
        }),
        PlanError::WholeSpace { region } => {
            let text = "and others cover all 2^64 bytes of the guest: leave some out";
            with_entry(region, places, text)
        }
        _ => None,
    };
    described.unwrap_or_else(|| Fault {
        offset: 0,
        text: error.to_string(),
    })
}

fn with_entry(region: &Region<'_>, places: &[Place], text: &str) -> Option<Fault> {
    let entry = Entry::of(region, places)?;
    Some(Fault {
        offset: entry.offset(),
        text: format!("{entry} {text}"),
    })
}

fn page_offset(region: &Region<'_>) -> String {
    let guest = region.guest().page_offset_4k();
    let host = region.host().map_or(guest, |host| host.page_offset_4k());
    format!(
        "begins at byte {guest:#x} of a 4 KiB page in the guest and at byte {host:#x} of one on \
         the host: make them equal"
    )
}

const fn advice(first: &Region<'_>, second: &Region<'_>, reason: OverlapReason) -> &'static str {
    match reason {
        OverlapReason::Kind => match (first.kind(), second.kind()) {
            (RegionKind::Emulated, _) | (_, RegionKind::Emulated) => {
                "an access cannot both trap and not trap; move or shorten one"
            }
            _ => "their kinds differ; move or shorten one",
        },
        OverlapReason::Flags => "their flags differ; give both the same, or move one",
        OverlapReason::Target => "they lead to different host pages; correct an address",
        OverlapReason::RamBytes => "RAM can be asked for only once; move or shorten one",
        _ => "move or shorten one",
    }
}
