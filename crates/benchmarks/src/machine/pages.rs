//! W12, W12b and W12m: W6 through a machine's lock and its books about regions.

use anyhow::{Context, Result, ensure};
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{MappingFlags, Vm};

use crate::machine::{CountingHal, Machine, MachineConfig, NAME};
use crate::trial::Trial;
use crate::workload::{BLOCK_2M, GIB, PAGES, SinglePages, guest_page, host_page};

/// Maps and unmaps the pages of [`SinglePages`] in a machine that has regions elsewhere.
pub(crate) struct MachinePages<'w> {
    workload: &'w SinglePages,
    config: MachineConfig,
    machine: Option<Machine>,
}

impl<'w> MachinePages<'w> {
    /// The trial, in a machine like `config`, with nothing prepared.
    pub(crate) const fn new(workload: &'w SinglePages, config: MachineConfig) -> Self {
        Self {
            workload,
            config,
            machine: None,
        }
    }
}

#[inline]
fn map_and_unmap(machine: &Machine, page: u32) -> Result<()> {
    let (guest, host) = (guest_page(page), host_page(page));
    machine.map_region(guest, host, PAGE_SIZE_4K, MappingFlags::READ_WRITE)?;
    machine.unmap_region(guest, PAGE_SIZE_4K)?;
    Ok(())
}

impl Trial for MachinePages<'_> {
    fn contender(&self) -> &'static str {
        NAME
    }

    fn prepare(&mut self) -> Result<()> {
        let machine = Vm::new((self.config)()?, CountingHal::default());
        let machine = machine.context("the machine is not made")?;
        for block in 0..GIB / BLOCK_2M {
            map_and_unmap(&machine, (block * PAGES / (GIB / BLOCK_2M)) as u32)?;
        }
        self.machine = Some(machine);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let machine = self.machine.as_ref().context("no machine")?;
        for &page in &self.workload.pages {
            map_and_unmap(machine, page)?;
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        let machine = self.machine.as_ref().context("no machine")?;
        let left = |page: &&u32| machine.translate(guest_page(**page)).is_some();
        let left = self.workload.pages.iter().find(left);
        ensure!(left.is_none(), "page {left:?} is still mapped");
        Ok(())
    }

    fn clean_up(&mut self) {
        self.machine = None;
    }
}
