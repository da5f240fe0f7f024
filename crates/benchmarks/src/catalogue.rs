//! The workloads, for those who read results.

/// A workload as a reader knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The name.
    pub(crate) name: &'static str,
    /// What is done.
    pub(crate) title: &'static str,
    /// What the time is divided by.
    pub(crate) unit: &'static str,
    /// The ratio to the floor that this project means to stay below.
    pub(crate) goal: Option<f64>,
}

const fn entry(
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    goal: Option<f64>,
) -> Entry {
    Entry {
        name,
        title,
        unit,
        goal,
    }
}

/// Every workload, in the order of reports.
pub(crate) const ENTRIES: [Entry; 29] = [
    entry("W1", "map 1 GiB, 4 KiB leaves", "page", Some(0.9)),
    entry("W2a", "map 64 GiB, 1 GiB leaves", "leaf", Some(1.15)),
    entry("W2b", "map 64 GiB, 2 MiB leaves", "leaf", Some(0.9)),
    entry("W3", "unmap all of W1", "page", Some(0.08)),
    entry("W4", "protect all of W1", "page", Some(2.0)),
    entry("W4x", "W4, executable", "page", Some(2.0)),
    entry("W5", "translate addresses of W1", "query", Some(1.25)),
    entry("W5h", "W5, the target alone", "query", Some(1.25)),
    entry("W6", "map and unmap one page", "pair", Some(2.4)),
    entry("W6f", "W6, two kinds of flags", "pair", Some(2.4)),
    entry("W6s", "W6, in 64 GiB", "pair", Some(2.4)),
    entry("W7", "fill 1 GiB page by page", "page", Some(1.8)),
    entry("W7f", "W7, two kinds of flags", "page", Some(1.8)),
    entry("W7s", "W7, in 64 GiB", "page", Some(1.8)),
    entry("W8", "split 2 MiB leaves", "leaf", Some(2.0)),
    entry("W9", "make and drop a VM", "VM", None),
    entry("W9k", "W9, 1,000 devices", "device", None),
    entry("W9m", "W9, 10,000 devices", "device", None),
    entry("W10", "plan 1,000,000 regions", "region", Some(1.5)),
    entry("W11", "read 1 MiB of a guest", "page", Some(1.1)),
    entry("W11r", "read 1 to 16 bytes of a guest", "copy", Some(3.0)),
    entry("W11w", "write 1 to 16 bytes", "copy", Some(3.0)),
    // Four times the goal of W6.
    entry("W12", "W6 through a VM, 200 regions", "pair", Some(9.6)),
    entry("W12b", "W12, regions below only", "pair", Some(9.6)),
    entry("W12m", "W12, 10,000 regions", "pair", Some(9.6)),
    entry("W13", "faults on lazy memory", "fault", Some(1.15)),
    entry("W16", "invalidate, no CPU inside", "request", Some(1.0)),
    entry("W16o", "W16, one of 64 inside", "request", None),
    entry("W16a", "W16, all of 64 inside", "request", None),
];
