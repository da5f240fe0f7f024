//! A format that insists on what its callers have promised it.

use guest_addr::HostPhysAddr;
use mapping_flags::{FlagsError, MappingFlags};
use nested_page_table::{Entry, Format, Geometry, Level, UpdateRules};

/// The format `F`, which fails the test where the table breaks a condition of [`Format`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strict<F>(pub(crate) F);

impl<F: Format> Strict<F> {
    fn check_address(&self, address: HostPhysAddr) {
        assert!(address.is_aligned_4k(), "{address} is not aligned");
        let fits = self.0.geometry().holds_host_address(address);
        assert!(fits, "{address} is beyond the output width");
    }

    fn check_leaf(&self, level: Level, bits: u64) {
        let entry = self.0.decode(level, bits);
        assert!(
            matches!(entry, Entry::Leaf(_)),
            "{bits:#x} at {level}: {entry:?}"
        );
    }
}

impl<F: Format> Format for Strict<F> {
    fn geometry(&self) -> &Geometry {
        self.0.geometry()
    }

    fn rules(&self) -> UpdateRules {
        self.0.rules()
    }

    fn check_flags(&self, flags: MappingFlags) -> Result<(), FlagsError> {
        self.0.check_flags(flags)
    }

    fn leaf_attributes(&self, level: Level, flags: MappingFlags) -> u64 {
        assert!(
            level <= self.0.geometry().largest_leaf(),
            "no leaves at {level}"
        );
        assert_eq!(self.0.check_flags(flags), Ok(()), "{flags:?}");
        self.0.leaf_attributes(level, flags)
    }

    fn address_bits(&self, address: HostPhysAddr) -> u64 {
        self.check_address(address);
        self.0.address_bits(address)
    }

    fn encode_table(&self, address: HostPhysAddr) -> u64 {
        self.check_address(address);
        self.0.encode_table(address)
    }

    fn decode(&self, level: Level, bits: u64) -> Entry {
        self.0.decode(level, bits)
    }

    fn decode_own(&self, level: Level, bits: u64) -> Entry {
        let entry = self.0.decode_own(level, bits);
        assert_eq!(
            entry,
            self.0.decode(level, bits),
            "{bits:#x} at {level} is no word of the format"
        );
        entry
    }

    fn with_permissions(&self, level: Level, bits: u64, flags: MappingFlags) -> u64 {
        self.check_leaf(level, bits);
        self.0.with_permissions(level, bits, flags)
    }

    fn split_leaf(&self, level: Level, bits: u64) -> u64 {
        assert_ne!(level, Level::PAGE_4K, "a page has no parts");
        self.check_leaf(level, bits);
        self.0.split_leaf(level, bits)
    }

    fn is_accessed(&self, bits: u64) -> bool {
        self.0.is_accessed(bits)
    }

    fn is_dirty(&self, bits: u64) -> bool {
        self.0.is_dirty(bits)
    }

    fn root_register(&self, root: HostPhysAddr, vmid: u16) -> u64 {
        self.check_address(root);
        self.0.root_register(root, vmid)
    }

    fn vmid_bits(&self) -> u32 {
        self.0.vmid_bits()
    }

    fn restricts_user_execution(&self) -> bool {
        self.0.restricts_user_execution()
    }

    fn publish(&self) {
        self.0.publish();
    }
}
