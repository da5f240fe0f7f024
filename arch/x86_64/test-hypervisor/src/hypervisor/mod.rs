//! The hypervisor: what a machine needs that runs guests under the tables of `nested-paging`.

pub(crate) mod boot;
pub(crate) mod console;
pub(crate) mod cpu;
pub(crate) mod hal;
pub(crate) mod io_apic;
pub(crate) mod platform;
pub(crate) mod power;
pub(crate) mod traps;
pub(crate) mod vcpu;
pub(crate) mod vmcs;
pub(crate) mod vmx;
