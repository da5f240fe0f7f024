//! W11r and W11w: copies of a few bytes, as device models make them.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use nested_paging::guest_vm::{MapType, MemoryRegion, VmConfig};
use nested_paging::nested_page_table::{LeafPolicy, Level};
use nested_paging::{GuestPhysAddr, MappingFlags, Vm};

use crate::contender::nested::{Backend, CountingHost, Ept, Nested};
use crate::contender::{Access, Leaves, PageTable};
use crate::floor::FloorTable;
use crate::machine::{CountingHal, Machine, NAME};
use crate::trial::Trial;
use crate::workload::{BLOCK_2M, GUEST, HOST, OPERATIONS, guest, random_numbers};

/// The sizes of the copies, in turn.
const SIZES: [usize; 5] = [1, 2, 4, 8, 16];

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Out of the guest's memory.
    Read,
    /// Into it.
    Write,
}

/// Copies of 1 to 16 bytes at random addresses of 2 MiB of pages, each aligned to its size.
pub(crate) struct SmallCopies {
    copies: Vec<(GuestPhysAddr, usize)>,
}

impl SmallCopies {
    /// The workload, with its addresses.
    pub(crate) fn new() -> Self {
        let numbers = random_numbers(OPERATIONS, BLOCK_2M as u32).into_iter();
        let copy = |(offset, bytes): (u32, usize)| {
            let offset = u64::from(offset) & !(bytes as u64 - 1);
            (GuestPhysAddr::new(GUEST.as_u64() + offset), bytes)
        };
        let copies = numbers.zip(SIZES.into_iter().cycle()).map(copy).collect();
        Self { copies }
    }
}

/// The copies by a machine.
pub(crate) struct CopySmall<'w> {
    workload: &'w SmallCopies,
    direction: Direction,
    machine: Option<Machine>,
}

impl<'w> CopySmall<'w> {
    /// The trial, with nothing prepared.
    pub(crate) const fn new(workload: &'w SmallCopies, direction: Direction) -> Self {
        Self {
            workload,
            direction,
            machine: None,
        }
    }
}

impl Trial for CopySmall<'_> {
    fn contender(&self) -> &'static str {
        NAME
    }

    fn prepare(&mut self) -> Result<()> {
        let mut config = VmConfig::new(1, "benchmark", Ept::format()?);
        config.leaf_policy = LeafPolicy::up_to(Level::PAGE_4K);
        let flags = u64::from(MappingFlags::READ_WRITE.bits());
        let ram = MemoryRegion::new("ram", GUEST, BLOCK_2M, flags, MapType::Alloc);
        config.memory_regions.push(ram);
        let machine = Vm::new(config, CountingHal::default());
        self.machine = Some(machine.context("the machine is not made")?);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let machine = self.machine.as_ref().context("no machine")?;
        let mut bytes = [1_u8; 16];
        for &(address, size) in &self.workload.copies {
            let part = bytes.get_mut(..size).context("a copy is too large")?;
            match self.direction {
                Direction::Read => machine.read_from_guest(address, part)?,
                Direction::Write => machine.write_to_guest(address, part)?,
            }
            black_box(&mut bytes);
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        let machine = self.machine.as_ref().context("no machine")?;
        let expected = u8::from(self.direction == Direction::Write);
        for &(address, size) in self.workload.copies.iter().step_by(997) {
            let mut bytes = vec![2; size];
            machine.read_from_guest(address, &mut bytes)?;
            let arrived = bytes.iter().all(|byte| *byte == expected);
            ensure!(arrived, "{bytes:?} at {address}");
        }
        Ok(())
    }

    fn clean_up(&mut self) {
        self.machine = None;
    }
}

/// A translation of each address by the table alone, for size and permissions too, and no copy.
pub(crate) struct TranslateOnly<'w> {
    workload: &'w SmallCopies,
    table: Option<Nested<Ept, CountingHost>>,
}

impl<'w> TranslateOnly<'w> {
    /// The trial, with nothing prepared.
    pub(crate) const fn new(workload: &'w SmallCopies) -> Self {
        Self {
            workload,
            table: None,
        }
    }
}

impl Trial for TranslateOnly<'_> {
    fn contender(&self) -> &'static str {
        FloorTable::NAME
    }

    fn prepare(&mut self) -> Result<()> {
        let mut table = Nested::new(Leaves::Pages)?;
        table.map(guest(BLOCK_2M)?, HOST, Access::ReadWrite)?;
        self.table = Some(table);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let table = self.table.as_ref().context("no table")?;
        let mut sum = 0_u64;
        for &(address, _) in &self.workload.copies {
            sum = sum.wrapping_add(table.translate(address).context("not mapped")?.sum());
        }
        black_box(sum);
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        let table = self.table.as_ref().context("no table")?;
        ensure!(table.host_of(GUEST) == Some(HOST), "not mapped");
        Ok(())
    }

    fn clean_up(&mut self) {
        self.table = None;
    }
}
