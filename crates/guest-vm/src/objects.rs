//! Plain old data in guest memory, by zerocopy's traits.

use guest_addr::GuestPhysAddr;
use nested_page_table::Format;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::error::VmError;
use crate::hal::VmHal;
use crate::vm::Vm;

/// With the feature `zerocopy`.
impl<F: Format, H: VmHal> Vm<F, H> {
    /// Reads a value whose every bit pattern means something, such as a descriptor of a virtqueue. The copy is that of
    /// [`read_from_guest`](Self::read_from_guest): aligned words of it are not torn, and their order is not defined.
    ///
    /// # Errors
    ///
    /// Those of [`read_from_guest`](Self::read_from_guest).
    pub fn read_object<T: FromBytes + IntoBytes>(
        &self,
        address: GuestPhysAddr,
    ) -> Result<T, VmError> {
        let mut value = T::new_zeroed();
        self.read_from_guest(address, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Reads an array of such values into `target`.
    ///
    /// # Errors
    ///
    /// Those of [`read_from_guest`](Self::read_from_guest).
    pub fn read_objects<T: FromBytes + IntoBytes>(
        &self,
        address: GuestPhysAddr,
        target: &mut [T],
    ) -> Result<(), VmError> {
        self.read_from_guest(address, target.as_mut_bytes())
    }

    /// Writes a value without padding. The copy is that of [`write_to_guest`](Self::write_to_guest).
    ///
    /// # Errors
    ///
    /// Those of [`write_to_guest`](Self::write_to_guest).
    pub fn write_object<T: IntoBytes + Immutable + ?Sized>(
        &self,
        address: GuestPhysAddr,
        value: &T,
    ) -> Result<(), VmError> {
        self.write_to_guest(address, value.as_bytes())
    }
}
