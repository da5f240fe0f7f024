//! The hypervisor: what a machine needs that runs guests under the tables of `nested-paging`.

pub(crate) mod boot;
pub(crate) mod console;
pub(crate) mod cpus;
pub(crate) mod csr;
pub(crate) mod hal;
pub(crate) mod platform;
pub(crate) mod power;
pub(crate) mod sbi;
pub(crate) mod vcpu;
