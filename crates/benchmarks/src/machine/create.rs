//! W9: making a whole machine, and dropping it.

use anyhow::{Context, Result, ensure};
use nested_paging::Vm;
use nested_paging::guest_vm::VmConfig;
use nested_paging::x86_64::Ept;

use crate::machine::{CountingHal, DEVICE_BYTES, DEVICE_COUNT, Machine, NAME, RAM_BYTES, config};
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
