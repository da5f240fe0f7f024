//! Host memory, word by word, as tests read and write it behind the guest's back.
#![expect(unsafe_code, reason = "reads and writes host memory")]

use nested_paging::{HostPhysAddr, HostPhysRange};
use reference_mmu::PhysicalMemory;

/// RAM that the hypervisor reaches at its host-physical address.
#[derive(Clone, Copy, Debug)]
pub struct HostMemory {
    ram: HostPhysRange,
}

impl HostMemory {
    /// The RAM of a machine.
    ///
    /// # Safety
    ///
    /// - Every byte of `ram` is RAM that is read and written at its host-physical address.
    #[must_use]
    pub const unsafe fn new(ram: HostPhysRange) -> Self {
        Self { ram }
    }

    /// Writes the word at `address`; `false` where no RAM or no word is.
    ///
    /// # Safety
    ///
    /// - No Rust value lives there.
    pub unsafe fn write(&self, address: HostPhysAddr, value: u64) -> bool {
        let word = self.word(address);
        if let Some(word) = word {
            // SAFETY: the word is RAM, which `new`'s caller vouched for, and no value lives there,
            // which this one's caller vouches for.
            unsafe { word.write_volatile(value) };
        }
        word.is_some()
    }

    fn word(&self, address: HostPhysAddr) -> Option<*mut u64> {
        let is_word = address.has_zero_low_bits(3) && self.ram.contains(address);
        is_word.then_some(address.as_u64() as *mut u64)
    }
}

impl PhysicalMemory for HostMemory {
    fn read(&self, address: HostPhysAddr) -> Option<u64> {
        let word = self.word(address)?;
        // SAFETY: the word is RAM, which `new`'s caller vouched for. Whatever is stored there, a
        // volatile load of 64 bits gives a number.
        Some(unsafe { word.read_volatile() })
    }
}
