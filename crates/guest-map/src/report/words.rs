//! Numbers and hardware's encodings in words.

use reference_mmu::MemoryKind;

/// `1 frame`, `2 frames`.
pub(crate) fn count(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// The memory type that a walker finds.
pub(crate) const fn memory(kind: MemoryKind) -> &'static str {
    match kind {
        MemoryKind::WriteBack => "write-back",
        MemoryKind::Uncached => "uncached",
        MemoryKind::Device => "device",
        MemoryKind::Uncacheable => "uncacheable",
        MemoryKind::Platform => "platform's",
        _ => "guest's",
    }
}
