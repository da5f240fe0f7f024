//! What should be mapped, kept as a list of ranges that knows no table.

use alloc::vec::Vec;
use core::ops::Range;

use nested_paging::MappingFlags;

/// Ranges of guest-physical addresses with where they lead and what is allowed. They do not overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) guest: Range<u64>,
    pub(crate) host: u64,
    pub(crate) flags: MappingFlags,
}

impl Piece {
    /// The part of this in `range`, if there is one.
    fn part(&self, range: &Range<u64>) -> Option<Self> {
        let guest = self.guest.start.max(range.start)..self.guest.end.min(range.end);
        (!guest.is_empty()).then(|| Self {
            host: self.host + (guest.start - self.guest.start),
            flags: self.flags,
            guest,
        })
    }
}

impl Model {
    /// What is in `range`, cut to it.
    pub(crate) fn parts(&self, range: &Range<u64>) -> Vec<Piece> {
        let parts = self.pieces.iter().filter_map(|piece| piece.part(range));
        parts.collect()
    }

    /// What is at `address`: the host address, and what is allowed.
    pub(crate) fn at(&self, address: u64) -> Option<(u64, MappingFlags)> {
        let parts = self.parts(&(address..address + 1));
        parts.first().map(|piece| (piece.host, piece.flags))
    }

    /// Adds what was mapped into a range without anything.
    pub(crate) fn map(&mut self, guest: Range<u64>, host: u64, flags: MappingFlags) {
        self.pieces.push(Piece { guest, host, flags });
    }

    /// Removes `range`, and returns what was there.
    pub(crate) fn unmap(&mut self, range: &Range<u64>) -> Vec<Piece> {
        let removed = self.parts(range);
        let (before, after) = (0..range.start, range.end..u64::MAX);
        let rest = self.pieces.iter();
        let rest = rest.flat_map(|piece| [piece.part(&before), piece.part(&after)]);
        self.pieces = rest.flatten().collect();
        removed
    }

    /// Gives `range` other permissions.
    pub(crate) fn protect(&mut self, range: &Range<u64>, permissions: MappingFlags) {
        for piece in self.unmap(range) {
            let flags = with_permissions(piece.flags, permissions);
            self.pieces.push(Piece { flags, ..piece });
        }
    }
}

/// The memory type of `flags` with `permissions`.
pub(crate) fn with_permissions(flags: MappingFlags, permissions: MappingFlags) -> MappingFlags {
    flags & MappingFlags::MEMORY_TYPE | permissions
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: MappingFlags = MappingFlags::READ;
    const DEVICE: MappingFlags = MappingFlags::PASSTHROUGH;

    #[test]
    fn what_is_left_stays_where_it_was() {
        let mut model = Model::default();
        model.map(0x4000..0x8000, 0x10_0000, DEVICE);
        model.unmap(&(0x5000..0x6000));
        assert_eq!(model.at(0x4fff), Some((0x10_0fff, DEVICE)));
        assert_eq!(model.at(0x5000), None);
        assert_eq!(model.at(0x6000), Some((0x10_2000, DEVICE)));
        model.protect(&(0..0x7000), READ);
        let device = MappingFlags::DEVICE | READ;
        assert_eq!(model.at(0x4000), Some((0x10_0000, device)));
        assert_eq!(model.at(0x6000), Some((0x10_2000, device)));
        assert_eq!(model.at(0x7000), Some((0x10_3000, DEVICE)));
        assert_eq!(model.parts(&(0..u64::MAX)).len(), 3);
    }
}
