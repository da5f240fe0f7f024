//! Files that the emulator put into RAM.
#![expect(unsafe_code, reason = "reads what the emulator put into RAM")]

use alloc::format;
use core::slice;

use nested_paging::{HostPhysAddr, HostPhysRange};

use crate::options::number;
use crate::report::Failure;

/// Files in RAM, as the command line says: `kernel=0xc0200000,0x1234`.
#[derive(Clone, Copy, Debug)]
pub struct LoadedFiles<'a> {
    line: &'a str,
    ram: HostPhysRange,
}

impl<'a> LoadedFiles<'a> {
    /// The files that `line` names, in `ram`.
    ///
    /// # Safety
    ///
    /// - Every byte of `ram` is RAM at its host-physical address, and nobody writes to it.
    #[must_use]
    pub const unsafe fn new(line: &'a str, ram: HostPhysRange) -> Self {
        Self { line, ram }
    }

    /// The bytes of the file `name`.
    ///
    /// # Errors
    ///
    /// When the command line does not name it, or it lies elsewhere.
    pub fn get(&self, name: &str) -> Result<&'static [u8], Failure> {
        let mut words = self.line.split_whitespace();
        let found = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let (start, size) = found
            .and_then(|place| place.split_once(','))
            .and_then(|(start, size)| number(start).zip(number(size)))
            .ok_or_else(|| format!("the command line has no {name}=ADDRESS,SIZE"))?;
        let file = HostPhysRange::from_start_size(HostPhysAddr::new(start), size);
        match file.is_ok_and(|file| self.ram.contains_range(&file)) {
            // SAFETY: the range is RAM that nobody writes to, as `new`'s caller vouched.
            true => Ok(unsafe { slice::from_raw_parts(start as *const u8, size as usize) }),
            false => Err(format!("{name} is not in {}", self.ram)),
        }
    }
}
