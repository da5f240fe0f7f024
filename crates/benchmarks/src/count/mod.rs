//! What is counted, not timed: invalidations, tables, and the heap. The numbers are the same in every run.

mod heap;
mod invalidations;
mod tables;

use std::fmt::Write;

use anyhow::Result;

pub(crate) use heap::CountingAllocator;

/// Everything, as Markdown.
///
/// # Errors
///
/// When a workload fails.
pub(crate) fn markdown() -> Result<String> {
    let mut text = String::new();
    writeln!(text, "## Invalidations\n")?;
    invalidations::markdown(&mut text)?;
    writeln!(text, "\n## Memory for tables\n")?;
    tables::markdown(&mut text)?;
    writeln!(text, "\n## Heap\n")?;
    heap::markdown(&mut text)?;
    Ok(text)
}
