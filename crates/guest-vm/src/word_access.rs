//! Single words of guest memory, as device models use them: a virtqueue's indices, flags and locks.
//!
//! Each access is one of `guest_copy`'s to an aligned word, with fences around it for its ordering.

use core::sync::atomic::{Ordering, fence};

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysRange};
use mapping_flags::MappingFlags;
use nested_page_table::Format;

use crate::address_space::publish_contents;
use crate::error::VmError;
use crate::guest_memory;
use crate::hal::VmHal;
use crate::vm::Vm;

/// A value that guest memory is accessed in at once: `u8`, `u16`, `u32` and `u64`, in the host's byte order.
pub trait GuestWord: sealed::Word {}

impl<T: sealed::Word> GuestWord for T {}

pub(crate) mod sealed {
    use crate::guest_copy::Unit;

    pub trait Word: Unit + PartialEq + core::fmt::Debug {
        /// The value in the word of 64 bits that has it at byte `place`.
        fn from_word(word: u64, place: usize) -> Self;

        /// `word` with this value at byte `place`.
        fn into_word(self, word: u64, place: usize) -> u64;
    }

    macro_rules! word {
        ($($type:ty),+) => {$(
            impl Word for $type {
                fn from_word(word: u64, place: usize) -> Self {
                    let mut value = [0; size_of::<Self>()];
                    let bytes = word.to_ne_bytes();
                    let from = bytes.iter().skip(place);
                    value.iter_mut().zip(from).for_each(|(byte, from)| *byte = *from);
                    Self::from_ne_bytes(value)
                }

                fn into_word(self, word: u64, place: usize) -> u64 {
                    let mut bytes = word.to_ne_bytes();
                    let there = bytes.iter_mut().skip(place);
                    there.zip(self.to_ne_bytes()).for_each(|(byte, from)| *byte = from);
                    u64::from_ne_bytes(bytes)
                }
            }
        )+};
    }

    word!(u8, u16, u32, u64);
}

impl<F: Format, H: VmHal> Vm<F, H> {
    /// Loads the word at `address`, which is a multiple of its size, by one access. With `Acquire`, what the guest had
    /// stored before it stored this value is visible to later loads; with `SeqCst`, the load also takes part in the order of all
    /// such accesses. `Release` and `AcqRel` count as `SeqCst`.
    ///
    /// As for [`read_from_guest`](Self::read_from_guest), the guest's permissions do not bind the host, and an absent page
    /// is populated.
    ///
    /// # Errors
    ///
    /// - [`VmError::Misaligned`]: `address` is not a multiple of the size.
    /// - Those of [`read_from_guest`](Self::read_from_guest).
    pub fn load<T: GuestWord>(
        &self,
        address: GuestPhysAddr,
        order: Ordering,
    ) -> Result<T, VmError> {
        self.with_word::<T, _>(address, |memory, _| {
            fence_before_load(order);
            let value = guest_memory::load(&*self.hal, memory);
            fence_after_load(order);
            value
        })
    }

    /// Stores `value` at `address`, which is a multiple of its size, by one access. With `Release`, whoever sees the value sees
    /// what was written before; with `SeqCst`, the store also takes part in the order of all such accesses. `Acquire` and
    /// `AcqRel` count as `SeqCst`.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load).
    pub fn store<T: GuestWord>(
        &self,
        address: GuestPhysAddr,
        value: T,
        order: Ordering,
    ) -> Result<(), VmError> {
        self.with_word::<T, _>(address, |memory, flags| {
            fence_before_store(order);
            guest_memory::store(&*self.hal, memory, value);
            fence_after_store(order);
            publish_contents(&*self.hal, memory, flags);
        })
    }

    /// Puts `new` into the word at `address`, which is a multiple of its size, if `current` is there. Returns what was there:
    /// `Ok` if it was exchanged. A sequentially consistent access.
    ///
    /// Like Rust's weak exchange it may fail although `current` is there: a word is exchanged with the aligned 8 bytes around
    /// it, and the host does not try for ever if the guest keeps changing its neighbours. Then it returns `Err(current)`.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load), around the result.
    pub fn compare_exchange<T: GuestWord>(
        &self,
        address: GuestPhysAddr,
        current: T,
        new: T,
    ) -> Result<Result<T, T>, VmError> {
        self.with_word::<T, _>(address, |memory, flags| {
            let result = guest_memory::compare_exchange(&*self.hal, memory, current, new);
            publish_contents(&*self.hal, memory, flags);
            result
        })
    }

    /// Calls `access` with the memory of the aligned word at `address`, present, and no device. The address space does
    /// not change meanwhile.
    #[inline]
    fn with_word<T: GuestWord, R>(
        &self,
        address: GuestPhysAddr,
        access: impl FnOnce(HostPhysRange, MappingFlags) -> R,
    ) -> Result<R, VmError> {
        let size = size_of::<T>() as u64;
        if !address.has_zero_low_bits(size.trailing_zeros()) {
            return Err(VmError::Misaligned { address, size });
        }
        let range = GuestPhysRange::from_start_size(address, size)?;
        let mut space = self.space.read();
        let mut word = space.part_of_present_page(&range);
        if word.is_none() {
            drop(space);
            space = self.accessible(&range)?;
            word = space.part_of_present_page(&range);
        }
        let (memory, flags) = word.ok_or(VmError::NotMapped { address })?;
        self.hal.drop_stale_lines(memory);
        Ok(access(memory, flags))
    }
}

#[inline]
fn fence_before_load(order: Ordering) {
    if !matches!(order, Ordering::Relaxed | Ordering::Acquire) {
        fence(Ordering::SeqCst);
    }
}

#[inline]
fn fence_after_load(order: Ordering) {
    match order {
        Ordering::Relaxed => {}
        Ordering::Acquire => fence(Ordering::Acquire),
        _ => fence(Ordering::SeqCst),
    }
}

#[inline]
fn fence_before_store(order: Ordering) {
    match order {
        Ordering::Relaxed => {}
        Ordering::Release => fence(Ordering::Release),
        _ => fence(Ordering::SeqCst),
    }
}

#[inline]
fn fence_after_store(order: Ordering) {
    if !matches!(order, Ordering::Relaxed | Ordering::Release) {
        fence(Ordering::SeqCst);
    }
}
