//! Which nodes are passed through.

/// The widest guest-physical address of any mode: 59 bits, Sv57x4.
///
/// RISC-V Privileged Architecture, version 20211203, section 8.5.1.
pub const WIDEST_ADDRESS_BITS: u32 = 59;

/// Which nodes are passed through, and how wide their addresses may be.
///
/// A path selects the node that has exactly this path, unit address included, and everything below
/// it; an excluded path takes the node and everything below it away, whatever else selects them. A
/// path that no node has selects nothing: ask
/// [`DeviceTree::contains`](crate::DeviceTree::contains) first.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Selection<'s> {
    /// The paths to pass through.
    pub passed: &'s [&'s str],
    /// The paths to leave out.
    pub excluded: &'s [&'s str],
    /// The width of the widest address that any mode translates, in bits. Regions that end beyond
    /// it are ignored. 64 and more allow every address.
    pub address_bits: u32,
}

impl<'s> Selection<'s> {
    /// What is at and below the paths `passed`, less what is at and below `excluded`, in addresses of at most
    /// [`WIDEST_ADDRESS_BITS`].
    #[must_use]
    pub const fn new(passed: &'s [&'s str], excluded: &'s [&'s str]) -> Self {
        Self {
            passed,
            excluded,
            address_bits: WIDEST_ADDRESS_BITS,
        }
    }

    /// The same nodes, in addresses of at most `bits`.
    #[must_use]
    pub const fn with_address_bits(self, bits: u32) -> Self {
        Self {
            address_bits: bits,
            ..self
        }
    }
}

impl Default for Selection<'_> {
    /// Nothing passed, nothing excluded, [`WIDEST_ADDRESS_BITS`].
    fn default() -> Self {
        Self::new(&[], &[])
    }
}
