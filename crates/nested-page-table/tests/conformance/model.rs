//! What is mapped, as a plain list.

use mapping_flags::MappingFlags;

/// A stretch of pages that are mapped in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) guest: u64,
    pub(crate) size: u64,
    pub(crate) host: u64,
    pub(crate) flags: MappingFlags,
}

impl Stretch {
    fn end(&self) -> u64 {
        self.guest + self.size
    }

    /// The part between two guest addresses.
    fn part(&self, from: u64, to: u64) -> Option<Self> {
        let (start, end) = (self.guest.max(from), self.end().min(to));
        (start < end).then(|| Self {
            guest: start,
            size: end - start,
            host: self.host + (start - self.guest),
            flags: self.flags,
        })
    }
}

/// Everything that is mapped, in no particular order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    stretches: Vec<Stretch>,
}

impl Model {
    /// The stretches within a range.
    pub(crate) fn within(&self, guest: u64, size: u64) -> Vec<Stretch> {
        let end = guest.saturating_add(size);
        self.stretches
            .iter()
            .filter_map(|stretch| stretch.part(guest, end))
            .collect()
    }

    pub(crate) fn map(&mut self, stretch: Stretch) {
        self.stretches.push(stretch);
    }

    pub(crate) fn unmap(&mut self, guest: u64, size: u64) {
        let cut = |stretch: &Stretch| {
            [stretch.part(0, guest), stretch.part(guest + size, u64::MAX)]
                .into_iter()
                .flatten()
        };
        self.stretches = self.stretches.iter().flat_map(cut).collect();
    }

    pub(crate) fn protect(&mut self, guest: u64, size: u64, permissions: MappingFlags) {
        let changed = self.within(guest, size);
        self.unmap(guest, size);
        for mut stretch in changed {
            stretch.flags.remove(MappingFlags::PERMISSIONS);
            stretch.flags |= permissions;
            self.stretches.push(stretch);
        }
    }

    /// Everything, sorted and joined where neighbours say the same.
    pub(crate) fn normal(&self) -> Vec<Stretch> {
        normal(self.stretches.clone())
    }
}

/// Sorted, and joined where neighbours say the same.
pub(crate) fn normal(mut stretches: Vec<Stretch>) -> Vec<Stretch> {
    stretches.sort_by_key(|stretch| stretch.guest);
    let mut joined: Vec<Stretch> = Vec::new();
    for stretch in stretches {
        match joined.last_mut() {
            Some(last)
                if last.end() == stretch.guest
                    && last.host + last.size == stretch.host
                    && last.flags == stretch.flags =>
            {
                last.size += stretch.size;
            }
            _ => joined.push(stretch),
        }
    }
    joined
}
