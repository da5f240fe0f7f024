//! The four address spaces, as types.

use core::fmt::Debug;
use core::hash::Hash;

mod sealed {
    pub trait Sealed {}
}

/// An address space: the type parameter that keeps addresses of different spaces apart.
///
/// Sealed: the four spaces of a virtualised machine are [`GuestPhysical`], [`HostPhysical`],
/// [`GuestVirtual`] and [`HostVirtual`].
pub trait AddressSpace: sealed::Sealed + Copy + Ord + Hash + Debug + Send + Sync + 'static {
    /// The short name that `Debug` output carries, such as `GPA`.
    const NAME: &'static str;
}

macro_rules! address_spaces {
    ($($(#[$doc:meta])* $space:ident = $name:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $space {}

        impl sealed::Sealed for $space {}

        impl AddressSpace for $space {
            const NAME: &'static str = $name;
        }
    )+};
}

address_spaces! {
    /// What a guest believes to be physical: the input of stage 2, of the G-stage and of EPT.
    GuestPhysical = "GPA";
    /// What the memory bus sees: the output of stage 2, of the G-stage and of EPT.
    HostPhysical = "HPA";
    /// What a guest's programs use: the input of the guest's own page tables.
    GuestVirtual = "GVA";
    /// What the hypervisor's own code dereferences.
    HostVirtual = "HVA";
}
