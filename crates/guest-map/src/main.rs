//! Plans, checks and prints the guest-physical memory map of a virtual machine.
#![forbid(unsafe_code)]

fn main() {}
