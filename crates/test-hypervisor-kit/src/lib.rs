#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod console;
pub mod report;

mod damage;
mod deviation;
mod differential;
mod frame_pool;
mod granted_memory;
mod guest;
mod host_memory;
mod loaded_files;
mod machine;
mod model;
mod options;
mod probe;
mod random;
mod real_guest;
mod scenarios;
mod suite;
mod test_hal;
mod vm_file;

pub use deviation::{Deviation, Surprise};
pub use frame_pool::FramePool;
pub use granted_memory::GrantedMemory;
pub use host_memory::HostMemory;
pub use loaded_files::LoadedFiles;
pub use machine::{Machine, Mode, Uart};
pub use options::{Leaf, Options};
pub use probe::{Action, Fault, Outcome, Probe, Way};
pub use random::Random;
pub use real_guest::{Cpus, Event, RealGuest, VirtualCpu};
pub use suite::run;
pub use vm_file::VmFile;
