//! The flags of a mapping.

use core::fmt;

use crate::error::FlagsError;
use crate::memory_type::MemoryType;

bitflags::bitflags! {
    /// What a guest may do with a mapping, and how the memory behind it behaves.
    ///
    /// The bit values are those that configuration files of ArceOS hypervisors contain.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
    pub struct MappingFlags: u32 {
        /// The guest may load from the memory.
        const READ = 0x01;
        /// The guest may store to the memory. Needs [`READ`](Self::READ).
        const WRITE = 0x02;
        /// The guest may fetch instructions, in both its user and its kernel mode.
        const EXECUTE = 0x04;
        /// A mark that reads back. It grants and restricts nothing, unless a backend's capability
        /// says otherwise.
        const USER = 0x08;
        /// Device memory: not cached, not reordered, never executable.
        const DEVICE = 0x10;
        /// Normal memory that is not cached.
        const UNCACHED = 0x20;
    }
}

impl MappingFlags {
    /// Read and write.
    pub const READ_WRITE: Self = Self::READ.union(Self::WRITE);

    /// The flags that say what the guest may do: read, write, execute.
    pub const ACCESS: Self = Self::READ_WRITE.union(Self::EXECUTE);

    /// The flags that a change of permissions may change: access and `USER`.
    pub const PERMISSIONS: Self = Self::ACCESS.union(Self::USER);

    /// The flags that choose the memory type: `DEVICE` and `UNCACHED`.
    pub const MEMORY_TYPE: Self = Self::DEVICE.union(Self::UNCACHED);

    /// What a device that is passed through gets unless the caller says otherwise.
    pub const PASSTHROUGH: Self = Self::DEVICE.union(Self::READ_WRITE).union(Self::USER);

    /// The flags whose bits are set in `bits`, as a configuration spells them.
    ///
    /// Only the bits are looked at; [`validate`](Self::validate) checks the combination.
    ///
    /// # Errors
    ///
    /// - [`FlagsError::UnknownBits`]: `bits` has a bit that is no flag.
    pub const fn from_configuration(bits: u64) -> Result<Self, FlagsError> {
        let known = bits & Self::all().bits() as u64;
        if known == bits {
            Ok(Self::from_bits_truncate(known as u32))
        } else {
            Err(FlagsError::UnknownBits {
                bits,
                unknown: bits & !known,
            })
        }
    }

    /// Whether the combination means anything on any backend. What one backend cannot express is
    /// for that backend to refuse.
    ///
    /// # Errors
    ///
    /// The first that applies, in this order:
    ///
    /// - [`FlagsError::UnknownBits`]: a bit is set that is no flag.
    /// - [`FlagsError::NoAccess`]: none of `READ`, `WRITE` and `EXECUTE` is set.
    /// - [`FlagsError::WriteWithoutRead`]: `WRITE` is set and `READ` is not.
    /// - [`FlagsError::DeviceExecute`]: `DEVICE` and `EXECUTE` are both set.
    /// - [`FlagsError::DeviceUncached`]: `DEVICE` and `UNCACHED` are both set.
    #[inline]
    pub const fn validate(self) -> Result<Self, FlagsError> {
        let unknown = self.difference(Self::all());
        if !unknown.is_empty() {
            let (bits, unknown) = (self.bits() as u64, unknown.bits() as u64);
            return Err(FlagsError::UnknownBits { bits, unknown });
        }
        if !self.intersects(Self::ACCESS) {
            return Err(FlagsError::NoAccess { flags: self });
        }
        if self.contains(Self::WRITE) && !self.contains(Self::READ) {
            return Err(FlagsError::WriteWithoutRead { flags: self });
        }
        if self.contains(Self::DEVICE) && self.contains(Self::EXECUTE) {
            return Err(FlagsError::DeviceExecute { flags: self });
        }
        if self.contains(Self::MEMORY_TYPE) {
            return Err(FlagsError::DeviceUncached { flags: self });
        }
        Ok(self)
    }

    /// The memory type that `DEVICE` and `UNCACHED` choose. `DEVICE` wins where both are set.
    #[inline]
    #[must_use]
    pub const fn memory_type(self) -> MemoryType {
        if self.contains(Self::DEVICE) {
            MemoryType::Device
        } else if self.contains(Self::UNCACHED) {
            MemoryType::Uncached
        } else {
            MemoryType::WriteBack
        }
    }
}

impl fmt::Debug for MappingFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappingFlags({self})")
    }
}

/// The names in bit order, joined by `|`; bits that are no flag in hex; `0` when nothing is set.
impl fmt::Display for MappingFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("0");
        }
        let mut separator = "";
        for (name, _) in self.iter_names() {
            write!(f, "{separator}{name}")?;
            separator = "|";
        }
        match self.difference(Self::all()).bits() {
            0 => Ok(()),
            unknown => write!(f, "{separator}{unknown:#x}"),
        }
    }
}
