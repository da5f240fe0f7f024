//! Which host memory guests may have.

use nested_paging::HostPhysRange;
use nested_paging::guest_vm::{GuestUse, HostMemoryKind};

/// The host memory that guests of a test hypervisor may have.
#[derive(Clone, Copy, Debug)]
pub struct GrantedMemory {
    /// RAM that the hypervisor leaves alone. Tests map it as a device too.
    pub arena: HostPhysRange,
    /// The code that the hypervisor has for guests, if it has any.
    pub guest_code: Option<HostPhysRange>,
    /// What frames come from: memory at a given address is taken from it.
    pub pool: HostPhysRange,
    /// Devices that may be passed through: their first and their last bytes.
    pub devices: &'static [(u64, u64)],
}

impl GrantedMemory {
    /// The answer of `VmHal::grants`.
    #[must_use]
    pub fn grants(&self, range: &HostPhysRange, r#use: GuestUse) -> bool {
        let is_arena = self.arena.contains_range(range);
        match (r#use, r#use.kind()) {
            // Whether it is free is for the pool to say, when it is asked to reserve it. Channels are
            // frames of the pool.
            (GuestUse::IdenticalRam | GuestUse::IvcChannel, _) => self.pool.contains_range(range),
            (_, HostMemoryKind::Ram) => {
                is_arena
                    || self
                        .guest_code
                        .is_some_and(|code| code.contains_range(range))
            }
            (_, HostMemoryKind::Device) => {
                let (first, last) = (range.start().as_u64(), range.last().as_u64());
                let mut devices = self.devices.iter();
                is_arena || devices.any(|device| device.0 <= first && last <= device.1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nested_paging::HostPhysAddr;

    fn range(start: u64, size: u64) -> HostPhysRange {
        HostPhysRange::from_start_size(HostPhysAddr::new(start), size).unwrap()
    }

    #[test]
    fn guests_get_what_is_theirs_alone() {
        let memory = GrantedMemory {
            arena: range(0x8000, 0x8000),
            guest_code: Some(range(0x3000, 0x1000)),
            pool: range(0x4000, 0x4000),
            devices: &[(0x1000, 0x1fff)],
        };
        let ram = GuestUse::MapRegion(HostMemoryKind::Ram);
        let device = GuestUse::Passthrough(HostMemoryKind::Device);
        let granted = |r#use| {
            [0x1000, 0x2000, 0x3000, 0x4000, 0x7000, 0x8000, 0xf000]
                .map(|start| memory.grants(&range(start, 0x1000), r#use))
        };
        assert_eq!(granted(ram), [false, false, true, false, false, true, true]);
        assert_eq!(
            granted(device),
            [true, false, false, false, false, true, true]
        );
        assert_eq!(
            granted(GuestUse::IdenticalRam),
            [false, false, false, true, true, false, false]
        );
        assert_eq!(granted(GuestUse::UnreservedIdenticalRam), granted(ram));
        assert!(
            !memory.grants(&range(0x7000, 0x2000), ram),
            "a part of the pool"
        );
    }
}
