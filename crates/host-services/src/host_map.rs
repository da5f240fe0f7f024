//! What a host uses its memory for.

use alloc::vec::Vec;

use guest_addr::HostPhysRange;

/// A use of host memory. One address may have several: reserved memory is mostly RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HostUse {
    /// RAM.
    Ram,
    /// Set aside, by firmware or for a device.
    Reserved,
    /// The hypervisor's own memory.
    Hypervisor,
    /// Registers of a device.
    Device,
}

const USES: usize = 4;

/// Host memory by use: sorted, disjoint ranges for each [`HostUse`].
///
/// Ranges are added in any order and then looked up; a lookup takes logarithmic time.
///
/// ```
/// use guest_addr::{HostPhysAddr, HostPhysRange};
/// use host_services::{HostMap, HostUse};
///
/// let range = |start, size| HostPhysRange::from_start_size(HostPhysAddr::new(start), size).unwrap();
/// let map: HostMap = [
///     (range(0x8000_0000, 0x1000_0000), HostUse::Ram),
///     (range(0x9000_0000, 0x1000_0000), HostUse::Ram),
///     (range(0x8000_0000, 0x20_0000), HostUse::Hypervisor),
/// ]
/// .into_iter()
/// .collect();
///
/// let wanted = range(0x8010_0000, 0x1fff_0000);
/// assert_eq!(map.first_common(HostUse::Hypervisor, wanted), Some(range(0x8010_0000, 0x10_0000)));
/// assert_eq!(map.first_outside(&[HostUse::Ram], wanted), Some(range(0xa000_0000, 0xf_0000)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostMap {
    ranges: [Vec<HostPhysRange>; USES],
}

impl HostMap {
    /// The ranges of a use: sorted, and joined where they overlap or touch.
    #[must_use]
    pub fn ranges(&self, host_use: HostUse) -> &[HostPhysRange] {
        match &self.ranges {
            [ram, reserved, hypervisor, device] => match host_use {
                HostUse::Ram => ram,
                HostUse::Reserved => reserved,
                HostUse::Hypervisor => hypervisor,
                HostUse::Device => device,
            },
        }
    }

    fn ranges_mut(&mut self, host_use: HostUse) -> &mut Vec<HostPhysRange> {
        let [ram, reserved, hypervisor, device] = &mut self.ranges;
        match host_use {
            HostUse::Ram => ram,
            HostUse::Reserved => reserved,
            HostUse::Hypervisor => hypervisor,
            HostUse::Device => device,
        }
    }

    /// Whether a guest may have all of `wanted` as RAM: every byte is RAM or reserved, and none is the hypervisor's.
    ///
    /// This is the part of `VmHal::grants` that depends on the machine alone. Whether the memory is free, and which guest may
    /// have it, is for the host to say. Reserved memory has a purpose of its own: leave out of the map what no guest may have.
    #[must_use]
    pub fn permits_ram(&self, wanted: HostPhysRange) -> bool {
        self.permits(&[HostUse::Ram, HostUse::Reserved], wanted)
    }

    /// Whether a guest may have all of `wanted` as a device: every byte is a device's or reserved, and none is the hypervisor's.
    ///
    /// A guest gets whole pages. So add the pages of a device to the map, not only its registers, if a guest may have what
    /// else is in them.
    #[must_use]
    pub fn permits_device(&self, wanted: HostPhysRange) -> bool {
        self.permits(&[HostUse::Device, HostUse::Reserved], wanted)
    }

    fn permits(&self, uses: &[HostUse], wanted: HostPhysRange) -> bool {
        let is_own = self.first_common(HostUse::Hypervisor, wanted).is_some();
        !is_own && self.first_outside(uses, wanted).is_none()
    }

    /// The first part of `wanted` that has the use, or `None`.
    #[must_use]
    pub fn first_common(&self, host_use: HostUse, wanted: HostPhysRange) -> Option<HostPhysRange> {
        let ranges = self.ranges(host_use);
        let next = ranges.partition_point(|range| range.last() < wanted.start());
        ranges.get(next)?.intersection(&wanted)
    }

    /// The first part of `wanted` that has none of the uses, or `None` when every byte has one.
    #[must_use]
    pub fn first_outside(
        &self,
        host_uses: &[HostUse],
        wanted: HostPhysRange,
    ) -> Option<HostPhysRange> {
        let mut rest = wanted;
        loop {
            let common = host_uses
                .iter()
                .filter_map(|&host_use| self.first_common(host_use, rest))
                .min_by_key(HostPhysRange::start);
            let Some(common) = common else {
                return Some(rest);
            };
            if common.start() > rest.start() {
                let last = common.start().checked_sub(1)?;
                return HostPhysRange::from_start_last(rest.start(), last).ok();
            }
            // `common` covers the start: go on behind the longest that does.
            let next = common.end().filter(|next| *next <= rest.last())?;
            rest = HostPhysRange::from_start_last(next, rest.last()).ok()?;
        }
    }
}

/// Adds ranges with their uses, in O(n log n) for all of them.
impl Extend<(HostPhysRange, HostUse)> for HostMap {
    fn extend<I: IntoIterator<Item = (HostPhysRange, HostUse)>>(&mut self, added: I) {
        for (range, host_use) in added {
            self.ranges_mut(host_use).push(range);
        }
        for ranges in &mut self.ranges {
            ranges.sort_unstable();
            ranges.dedup_by(|next, range| {
                let touches = range.overlaps(next) || range.is_followed_by(next);
                let last = range.last().max(next.last());
                if let (true, Ok(joined)) =
                    (touches, HostPhysRange::from_start_last(range.start(), last))
                {
                    *range = joined;
                    return true;
                }
                false
            });
        }
    }
}

impl FromIterator<(HostPhysRange, HostUse)> for HostMap {
    fn from_iter<I: IntoIterator<Item = (HostPhysRange, HostUse)>>(added: I) -> Self {
        let mut map = Self::default();
        map.extend(added);
        map
    }
}
