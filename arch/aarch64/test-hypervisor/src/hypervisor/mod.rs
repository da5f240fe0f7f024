//! The hypervisor: what a machine needs that runs guests under the tables of `nested-paging`.

pub(crate) mod address_translation;
pub(crate) mod boot;
pub(crate) mod console;
pub(crate) mod cpus;
pub(crate) mod el2;
pub(crate) mod hal;
pub(crate) mod platform;
pub(crate) mod power;
pub(crate) mod psci;
pub(crate) mod register;
pub(crate) mod vcpu;
pub(crate) mod vectors;
