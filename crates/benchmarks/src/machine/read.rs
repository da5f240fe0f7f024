//! W11: reading guest memory.
#![expect(unsafe_code, reason = "the floor copies from a frame")]

use std::hint::black_box;
use std::slice;

use anyhow::{Context, Result, ensure};
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::guest_vm::{MapType, MemoryRegion, VmConfig};
use nested_paging::nested_page_table::{LeafPolicy, Level};
use nested_paging::{HostFrames, HostPhysAddr, MappingFlags, Vm};

use crate::contender::PageTable;
use crate::contender::nested::{Backend, Ept};
use crate::floor::FloorTable;
use crate::frames::{self, StackFrames};
use crate::machine::{CountingHal, Machine, NAME, RAM};
use crate::trial::Trial;

/// How much is read.
const BYTES: usize = 1 << 20;
const FRAMES: u64 = BYTES as u64 / PAGE_SIZE_4K;
/// How often one round reads it.
const READS: u64 = 16;

/// What the memory holds.
fn contents() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(BYTES as u64);
    (0..BYTES).map(|_| random.u8(..)).collect()
}

fn verify(read: &[u8]) -> Result<()> {
    ensure!(read == contents(), "what was read is not what was written");
    Ok(())
}

/// Reads 1 MiB that is mapped with leaves of 4 KiB.
pub(crate) struct ReadMemory {
    machine: Option<Machine>,
    buffer: Vec<u8>,
}

impl ReadMemory {
    /// How many units a round does: pages read.
    pub(crate) const UNITS: u64 = READS * FRAMES;

    /// The trial, with nothing prepared.
    pub(crate) fn new() -> Self {
        Self {
            machine: None,
            buffer: vec![0; BYTES],
        }
    }
}

impl Trial for ReadMemory {
    fn contender(&self) -> &'static str {
        NAME
    }

    fn prepare(&mut self) -> Result<()> {
        let mut config = VmConfig::new(1, "benchmark", Ept::format()?);
        config.leaf_policy = LeafPolicy::up_to(Level::PAGE_4K);
        let flags = u64::from(MappingFlags::READ_WRITE.bits());
        let ram = MemoryRegion::new("ram", RAM, BYTES as u64, flags, MapType::Alloc);
        config.memory_regions.push(ram);
        let machine = Vm::new(config, CountingHal::default());
        let machine = machine.context("the machine is not made")?;
        machine.write_to_guest(RAM, &contents())?;
        self.machine = Some(machine);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let machine = self.machine.as_ref().context("no machine")?;
        for _ in 0..READS {
            machine.read_from_guest(RAM, &mut self.buffer)?;
            black_box(self.buffer.as_mut_slice());
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        verify(&self.buffer)
    }

    fn clean_up(&mut self) {
        self.machine = None;
    }
}

/// Copies as much, in one piece, from consecutive frames.
pub(crate) struct CopyFloor {
    frames: Option<HostPhysAddr>,
    buffer: Vec<u8>,
}

impl CopyFloor {
    /// The trial, with nothing prepared.
    pub(crate) fn new() -> Self {
        Self {
            frames: None,
            buffer: vec![0; BYTES],
        }
    }
}

impl Trial for CopyFloor {
    fn contender(&self) -> &'static str {
        FloorTable::NAME
    }

    fn prepare(&mut self) -> Result<()> {
        let frames = StackFrames
            .alloc(FRAMES, PAGE_SIZE_4K)
            .context("no frames")?;
        // SAFETY: the run was just taken, and is as long as that.
        let memory = unsafe { slice::from_raw_parts_mut(frames::pointer(frames), BYTES) };
        memory.copy_from_slice(&contents());
        self.frames = Some(frames);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let frames = self.frames.context("no frames")?;
        // SAFETY: the run is this value's, and was filled.
        let memory = unsafe { slice::from_raw_parts(frames::pointer(frames), BYTES) };
        for _ in 0..READS {
            self.buffer.copy_from_slice(black_box(memory));
            black_box(self.buffer.as_mut_slice());
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        verify(&self.buffer)
    }

    fn clean_up(&mut self) {
        if let Some(frames) = self.frames.take() {
            // SAFETY: the run was taken in `prepare`, and nobody uses it any more.
            unsafe { StackFrames.dealloc(frames, FRAMES) }
        }
    }
}
