#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("simulated-host supports 64-bit targets only: its memory is larger than 4 GiB");

mod behind_cache;
mod event_log;
mod frames;

mod hal;
mod host;
mod instruction;
mod machine;
mod memory;
mod staleness;
mod sync;
mod tlb;
mod violation;
mod walk;

pub use event_log::Event;
pub use frames::{Failure, FrameObserver, Placement, SimulatedFrames, Snapshot};
pub use host::SimulatedHost;
pub use instruction::{Dsb, TlbInstruction, Tlbi};
pub use machine::{Access, Machine};
pub use memory::SparseMemory;
pub use tlb::{Cache, EptTlb, Kept, NptTlb, RiscvTlb, Rules, Stage2Tlb, Tag, TlbModel};
pub use violation::{Source, Violation, Violations};
pub use walk::{Outcome, Permissions, Step, Translation, Walk, Walker};
