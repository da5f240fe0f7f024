//! The frames that tables take after the map phase of each workload, and after those that change tables.

use std::fmt::Write;

use anyhow::Result;
use nested_paging::guest_addr::PAGE_SIZE_4K;

use crate::contender::nested::{Ept, GStage, Nested, Stage2};
use crate::contender::{Aarch64Paging, Generic, Leaves, Multiarch, PageTable, X86};
use crate::frames;
use crate::workload::{Fill, GIB, GUEST, Map, PAGES, Split, Unmap, Workload};

/// What is mapped after a workload: `bytes` from [`GUEST`] on, with leaves of `1 << leaf_shift`.
#[derive(Clone, Copy, Debug)]
struct Mapped {
    bytes: u64,
    leaf_shift: u32,
}

impl Mapped {
    const NOTHING: Self = Self::new(0, 12);

    const fn new(bytes: u64, leaf_shift: u32) -> Self {
        Self { bytes, leaf_shift }
    }

    /// The least frames that tables of 512 entries below the root can take.
    fn least_below_root(self) -> u64 {
        let Some(last) = self.bytes.checked_sub(1) else {
            return 0;
        };
        let (first, last) = (GUEST.as_u64(), GUEST.as_u64() + last);
        // A table spans 512 times what its entries span, and the root's entries span 512 GiB.
        let spans = (self.leaf_shift + 9..48).step_by(9);
        spans.map(|span| (last >> span) - (first >> span) + 1).sum()
    }
}

/// The KiB of one table of `T` after `workload`, and the least possible.
fn kib<T: PageTable>(workload: &impl Workload, mapped: Mapped) -> Result<(u64, u64)> {
    let fresh = T::new(Leaves::Pages)?;
    let root = frames::outstanding();
    drop(fresh);
    let mut tables: Vec<T> = workload.prepare()?;
    workload.run(&mut tables)?;
    let frames = frames::outstanding() / tables.len() as u64;
    let kib = |frames| frames * PAGE_SIZE_4K / 1024;
    Ok((kib(frames), kib(root + mapped.least_below_root())))
}

/// A table: a row for each contender, a column for each workload.
///
/// # Errors
///
/// When a workload fails.
pub(super) fn markdown(text: &mut String) -> Result<()> {
    writeln!(
        text,
        "KiB of tables, and the least possible, after the map phase of a workload. W3 and W8 are after \
         the change: unmapped tables are back, split leaves have one more each.\n"
    )?;
    writeln!(text, "| | W1 | W2a | W2b | W7 | W3 | W8 |")?;
    writeln!(text, "|---|--:|--:|--:|--:|--:|--:|")?;
    row::<Nested<Ept>>(text)?;
    row::<Nested<Stage2>>(text)?;
    row::<Nested<GStage>>(text)?;
    row::<Multiarch>(text)?;
    row::<Generic>(text)?;
    row::<Aarch64Paging<false>>(text)?;
    row::<Aarch64Paging<true>>(text)?;
    row::<X86>(text)
}

fn row<T: PageTable>(text: &mut String) -> Result<()> {
    let pages = Mapped::new(GIB, 12);
    write!(text, "| {} |", T::NAME)?;
    cell::<T>(text, &Map::W1, pages)?;
    cell::<T>(text, &Map::W2A, Mapped::new(64 * GIB, 30))?;
    cell::<T>(text, &Map::W2B, Mapped::new(64 * GIB, 21))?;
    cell::<T>(text, &<Fill>::new(PAGES as usize), pages)?;
    cell::<T>(text, &Unmap, Mapped::NOTHING)?;
    cell::<T>(text, &Split, pages)?;
    writeln!(text)?;
    Ok(())
}

fn cell<T: PageTable>(text: &mut String, workload: &impl Workload, mapped: Mapped) -> Result<()> {
    if T::refuses(workload.name()).is_some() {
        write!(text, " cannot |")?;
        return Ok(());
    }
    let (kib, least) = kib::<T>(workload, mapped)?;
    write!(text, " {kib} of {least} |")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_counted_level_by_level() {
        assert_eq!(Mapped::NOTHING.least_below_root(), 0);
        assert_eq!(Mapped::new(GIB, 12).least_below_root(), 512 + 1 + 1);
        assert_eq!(Mapped::new(64 * GIB, 21).least_below_root(), 64 + 1);
        assert_eq!(Mapped::new(64 * GIB, 30).least_below_root(), 1);
    }
}
