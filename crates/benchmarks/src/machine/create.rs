//! W9, W9k and W9m: making a whole machine, and dropping it.

use anyhow::{Context, Result, ensure};
use nested_paging::Vm;
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::guest_vm::VmConfig;
use nested_paging::x86_64::Ept;

use crate::machine::{
    CountingHal, DEVICE_BYTES, DEVICE_COUNT, Machine, NAME, RAM_BYTES, config, config_around,
};
use crate::trial::Trial;

/// How many machines one round makes and drops, one after the other.
const MACHINES: usize = 16;

/// Makes machines from configurations, and drops them.
#[derive(Default)]
pub(crate) struct Create {
    configs: Vec<VmConfig<'static, Ept>>,
}

impl Create {
    /// How many units a round does.
    pub(crate) const UNITS: u64 = MACHINES as u64;
}

fn machine(config: VmConfig<'static, Ept>) -> Result<Machine> {
    let machine = Vm::new(config, CountingHal::default());
    machine.context("the machine is not made")
}

impl Trial for Create {
    fn contender(&self) -> &'static str {
        NAME
    }

    fn prepare(&mut self) -> Result<()> {
        let config = config()?;
        self.configs = vec![config; MACHINES];
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        for config in self.configs.drain(..) {
            drop(machine(config)?);
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        let machine = machine(config()?)?;
        let mapped = machine.statistics().mapped_bytes;
        let expected = RAM_BYTES + DEVICE_COUNT * DEVICE_BYTES;
        ensure!(
            mapped == expected,
            "{mapped} bytes are mapped, not {expected}"
        );
        Ok(())
    }

    fn clean_up(&mut self) {
        self.configs.clear();
    }
}

/// Makes a machine with many devices, and drops it.
pub(crate) struct CreateLarge {
    devices: u64,
    config: Option<VmConfig<'static, Ept>>,
}

impl CreateLarge {
    /// The trial, for a machine with so many devices, with nothing prepared.
    pub(crate) const fn new(devices: u64) -> Self {
        Self {
            devices,
            config: None,
        }
    }
}

impl Trial for CreateLarge {
    fn contender(&self) -> &'static str {
        NAME
    }

    fn prepare(&mut self) -> Result<()> {
        self.config = Some(config_around(self.devices)?);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let config = self.config.take().context("no configuration")?;
        drop(machine(config)?);
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        let mapped = machine(config_around(self.devices)?)?
            .statistics()
            .mapped_bytes;
        ensure!(mapped == self.devices * PAGE_SIZE_4K, "{mapped} bytes");
        Ok(())
    }

    fn clean_up(&mut self) {
        self.config = None;
    }
}
