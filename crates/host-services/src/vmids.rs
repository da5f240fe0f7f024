//! Who has which VMID, and which of them a CPU may still have translations of.

use core::fmt;

use nested_page_table::InvalidationFailed;

/// A VMID that one address space has: the right to use the number, and to give it back.
///
/// It is neither `Copy` nor `Clone`, so that two address spaces cannot have the same one. If it is dropped and not
/// [released](Vmids::release), the number stays taken for good.
#[derive(Debug, PartialEq, Eq, Hash)]
#[must_use = "a VMID that is not released stays taken for good"]
pub struct Vmid(u16);

impl Vmid {
    /// The number, for [`AddressSpaceId::vmid`](nested_page_table::AddressSpaceId::vmid).
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.0
    }
}

/// Why there is no VMID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VmidError {
    /// Address spaces have all of them.
    AllTaken,
    /// An address space has this one.
    Taken(u16),
    /// This number is none of the VMIDs that are handed out.
    OutOfRange(u16),
    /// The host could not invalidate. The VMID was not handed out.
    InvalidationFailed(InvalidationFailed),
}

impl fmt::Display for VmidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllTaken => f.write_str("every VMID is taken"),
            Self::Taken(number) => write!(f, "VMID {number} is taken"),
            Self::OutOfRange(number) => write!(f, "{number} is none of the host's VMIDs"),
            Self::InvalidationFailed(failed) => failed.fmt(f),
        }
    }
}

impl core::error::Error for VmidError {}

impl From<InvalidationFailed> for VmidError {
    fn from(failed: InvalidationFailed) -> Self {
        Self::InvalidationFailed(failed)
    }
}

/// The VMIDs (ASIDs, VPIDs) of a host, the first `64 * WORDS` at most.
///
/// A CPU may keep translations of a VMID after its address space is gone. So each VMID is handed out once in a
/// *generation*. When the free ones of a generation are used up, the host invalidates the translations of **all**
/// VMIDs on all CPUs, and the next generation begins with every VMID that is free then. One invalidation of everything
/// thus serves many address spaces.
///
/// `Vmids` is for one host and changes rarely: keep it behind a lock. It takes 16 bytes for each 64 VMIDs, 16 KiB for
/// all 65,536. Each operation takes time in proportion to `WORDS` at most.
///
/// ```
/// use host_services::{VmidError, Vmids};
///
/// // Two VMIDs, 1 and 2. Zero is left to the host itself.
/// let mut vmids = Vmids::<1>::new(1, 2).unwrap();
/// let first = vmids.allocate(|| unreachable!("no VMID was used before"))?;
/// let second = vmids.allocate(|| unreachable!("no VMID was used before"))?;
/// assert_eq!(vmids.allocate(|| Ok(())), Err(VmidError::AllTaken));
///
/// vmids.release(first);
/// let mut invalidated = false;
/// let third = vmids.allocate(|| Ok(invalidated = true))?;
/// assert!(invalidated, "VMID 1 is handed out again");
/// assert_eq!((third.number(), vmids.generation()), (1, 1));
/// # vmids.release(second);
/// # vmids.release(third);
/// # Ok::<(), VmidError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Vmids<const WORDS: usize> {
    first: u16,
    last: u16,
    /// The VMIDs that an address space has.
    taken: [u64; WORDS],
    /// The VMIDs that were handed out in this generation: a CPU may have translations of them.
    used: [u64; WORDS],
    generation: u64,
}

impl<const WORDS: usize> Vmids<WORDS> {
    /// The VMIDs from `first` to `last`. `None` if there are none, or if `last` is not below `64 * WORDS`.
    ///
    /// No CPU may have translations of any of them: invalidate everything on each CPU when it starts. Leave out numbers
    /// with another meaning. ASID 0 and VPID 0 are the host's on x86 (APM 2, 15.16 "TLB Control"; SDM 3C, "Virtual
    /// Processor Identifiers (VPIDs)").
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first > last || last as usize / 64 >= WORDS {
            return None;
        }
        Some(Self {
            first,
            last,
            taken: [0; WORDS],
            used: [0; WORDS],
            generation: 0,
        })
    }

    /// How often everything was invalidated so that VMIDs could be handed out again.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Hands out a VMID that no address space has and of which no CPU has translations.
    ///
    /// Calls `invalidate_all` if every free VMID was used in this generation. It must invalidate the translations of
    /// all VMIDs on all CPUs, and return when all of them have done so. VMIDs in use lose their cached translations,
    /// but keep their numbers.
    ///
    /// # Errors
    ///
    /// - [`VmidError::AllTaken`]: no VMID is free. Nothing was invalidated.
    /// - [`VmidError::InvalidationFailed`]: `invalidate_all` failed. Nothing was handed out.
    pub fn allocate(
        &mut self,
        invalidate_all: impl FnOnce() -> Result<(), InvalidationFailed>,
    ) -> Result<Vmid, VmidError> {
        if let Some(fresh) = self.find(|taken, used| taken | used) {
            return Ok(self.hand_out(fresh));
        }
        let free = self.find(|taken, _| taken).ok_or(VmidError::AllTaken)?;
        invalidate_all()?;
        // A VMID in use has translations again at once.
        self.used = self.taken;
        self.generation = self.generation.saturating_add(1);
        Ok(self.hand_out(free))
    }

    /// Hands out the VMID `number`, for a host whose configuration chooses the numbers.
    ///
    /// Calls `invalidate` if it was used in this generation. `invalidate` must invalidate the translations of this VMID
    /// on all CPUs, and return when all of them have done so.
    ///
    /// # Errors
    ///
    /// - [`VmidError::OutOfRange`]: `number` is none of the VMIDs.
    /// - [`VmidError::Taken`]: an address space has it.
    /// - [`VmidError::InvalidationFailed`]: `invalidate` failed. Nothing was handed out.
    pub fn claim(
        &mut self,
        number: u16,
        invalidate: impl FnOnce() -> Result<(), InvalidationFailed>,
    ) -> Result<Vmid, VmidError> {
        if !(self.first..=self.last).contains(&number) {
            return Err(VmidError::OutOfRange(number));
        }
        if contains(&self.taken, number) {
            return Err(VmidError::Taken(number));
        }
        if contains(&self.used, number) {
            invalidate()?;
        }
        Ok(self.hand_out(number))
    }

    /// Takes back the VMID of an address space that no CPU runs any more.
    ///
    /// Its translations may still be cached: they are invalidated before the VMID is handed out again. Give back only what
    /// these `Vmids` have handed out.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "who gives a VMID back has it no more"
    )]
    pub fn release(&mut self, vmid: Vmid) {
        set(&mut self.taken, vmid.0, false);
    }

    fn hand_out(&mut self, number: u16) -> Vmid {
        set(&mut self.taken, number, true);
        set(&mut self.used, number, true);
        Vmid(number)
    }

    /// The lowest VMID whose bit is clear in what `occupied` makes of each word of `taken` and `used`.
    fn find(&self, occupied: impl Fn(u64, u64) -> u64) -> Option<u16> {
        let words = (0_u32..).zip(self.taken.iter().zip(&self.used));
        let mut free = words.filter_map(|(index, (&taken, &used))| {
            let bit = (!(occupied(taken, used) | self.outside(index))).trailing_zeros();
            let number = index.checked_mul(64)?.checked_add(bit)?;
            (bit < 64).then_some(number)
        });
        free.next().and_then(|number| u16::try_from(number).ok())
    }

    /// The bits of the word `index` that stand for none of the VMIDs.
    fn outside(&self, index: u32) -> u64 {
        let first = u32::from(self.first).saturating_sub(index.saturating_mul(64));
        let end = (u32::from(self.last).saturating_add(1)).saturating_sub(index.saturating_mul(64));
        below(first) | !below(end)
    }
}

/// The lowest `count` bits, all 64 for more.
fn below(count: u32) -> u64 {
    match 1_u64.checked_shl(count) {
        Some(bit) => bit.wrapping_sub(1),
        None => u64::MAX,
    }
}

const fn place(number: u16) -> (usize, u64) {
    (number as usize / 64, 1 << (number % 64))
}

fn contains(words: &[u64], number: u16) -> bool {
    let (word, bit) = place(number);
    words.get(word).is_some_and(|word| word & bit != 0)
}

fn set(words: &mut [u64], number: u16, value: bool) {
    let (word, bit) = place(number);
    if let Some(word) = words.get_mut(word) {
        *word = if value { *word | bit } else { *word & !bit };
    }
}
