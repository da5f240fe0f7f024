//! What a change of permissions needs, found without changing anything.

use mapping_flags::{FlagsError, MappingFlags};

use crate::change::protect::Permit;
use crate::contract::entry::{Entry, Leaf};
use crate::contract::error::ProtectError;
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::tree::pass::{Look, Next, Run, Seen};
use crate::tree::slots::tables_below;
use crate::tree::tables::{Part, Tables};
use crate::tree::words::Word;

/// Whether every leaf in a range can have the permissions, and the frames for the splits that this takes.
pub(crate) struct PermissionSurvey<'a, F: Format, H: TableHost> {
    tables: &'a Tables<F, H>,
    action: &'a Permit,
    /// All bits but those of the address.
    attribute_bits: u64,
    /// The level and the attributes of the last two kinds of leaves that can have the permissions, the newest first:
    /// others like them can.
    accepted: [(Level, u64); 2],
    frames: u64,
    refused: Option<ProtectError>,
}

impl<'a, F: Format, H: TableHost> PermissionSurvey<'a, F, H> {
    /// A survey that has seen nothing yet.
    pub(crate) fn of(tables: &'a Tables<F, H>, action: &'a Permit) -> Self {
        let format = &tables.format;
        let attribute_bits = !format.address_bits(tables.geometry().last_host_page());
        Self {
            tables,
            action,
            attribute_bits,
            accepted: [(Level::PAGE_4K, format.absent() & attribute_bits); 2],
            frames: 0,
            refused: None,
        }
    }

    /// The frames that `top` takes.
    pub(crate) fn frames(mut self, top: &Part) -> Result<u64, ProtectError> {
        // Without splits there is nothing to find out.
        if top.table.level != Level::PAGE_4K || !self.is_any_leaf_fine() {
            self.tables.pass_over(top, &mut self);
        }
        self.refused.map_or(Ok(self.frames), Err)
    }

    /// Without `EXECUTE` no memory type stands in the way.
    pub(crate) fn is_any_leaf_fine(&self) -> bool {
        !self.action.permissions.contains(MappingFlags::EXECUTE)
    }

    /// The flags that `leaf` is to have.
    fn flags_of(&self, leaf: &Leaf) -> Result<MappingFlags, FlagsError> {
        let memory_type = leaf.flags.intersection(MappingFlags::MEMORY_TYPE);
        let flags = memory_type | self.action.permissions;
        self.tables.format.check_flags(flags).map(|()| flags)
    }

    /// Whether the entry `bits` of `level`, of which the whole was asked for, is absent or a leaf that can have the
    /// permissions.
    fn accepts(&mut self, level: Level, bits: u64) -> bool {
        let attributes = (level, bits & self.attribute_bits);
        if self.accepted.contains(&attributes) {
            return true;
        }
        let accepted = match self.tables.format.decode_own(level, bits) {
            Entry::Absent => true,
            Entry::Leaf(leaf) => self.is_any_leaf_fine() || self.flags_of(&leaf).is_ok(),
            Entry::Table(_) => false,
        };
        if accepted {
            self.accepted = [attributes, self.accepted[0]];
        }
        accepted
    }
}

impl<F: Format, H: TableHost> Look for PermissionSurvey<'_, F, H> {
    fn run(&mut self, run: &Run<'_>) -> usize {
        if run.level > self.action.largest {
            return 0;
        }
        let mask = self.attribute_bits;
        let mut count = 0;
        while let Some(rest @ [entry, ..]) = run.entries.get(count..) {
            let bits = entry.load();
            if !self.accepts(run.level, bits) {
                break;
            }
            // Others like it can have the permissions, too: mostly the rest of the run. It is like itself, unless the
            // hardware has marked it since.
            let is_alike = |other: &&Word| (other.load() ^ bits) & mask == 0;
            count += rest.iter().take_while(is_alike).count().max(1);
        }
        count
    }

    fn at(&mut self, seen: &Seen<'_>) -> Next {
        let Entry::Leaf(leaf) = self.tables.format.decode_own(seen.level, seen.bits) else {
            let leads_to_pages = seen.level == Level::BLOCK_2M;
            return match leads_to_pages && self.is_any_leaf_fine() {
                true => Next::Over,
                false => Next::Into,
            };
        };
        match self.flags_of(&leaf) {
            Ok(flags) if flags == leaf.flags => {}
            Ok(_) => {
                let (geometry, largest) = (self.tables.geometry(), self.action.largest);
                self.frames += tables_below(geometry, seen.level, &seen.portion, largest);
            }
            Err(reason) => {
                let existing = self.tables.seen_leaf(seen);
                self.refused = existing.map(|existing| ProtectError::Leaf { existing, reason });
                return Next::Stop;
            }
        }
        Next::Over
    }
}
