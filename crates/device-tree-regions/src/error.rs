//! Why a blob is refused.

use core::fmt;

use crate::tree::{MAX_COMPARISONS, MAX_DEPTH, MAX_PATH_BYTES};

/// A part of the blob whose place the header states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Block {
    /// The memory reservation block.
    Reservations,
    /// The structure block: the nodes and their properties.
    Structure,
    /// The strings block: the names of the properties.
    Strings,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reservations => "memory reservation block",
            Self::Structure => "structure block",
            Self::Strings => "strings block",
        })
    }
}

/// Why a blob is refused. Offsets count bytes from the start of the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceTreeError {
    /// There are fewer bytes than the header takes, or than it says the blob has.
    Truncated {
        /// The bytes that there are.
        size: usize,
        /// The bytes that there should be.
        needed: usize,
    },
    /// The blob does not begin with 0xd00dfeed.
    BadMagic {
        /// The first four bytes, big-endian.
        found: u32,
    },
    /// The format's version is older than 16, or not compatible with 17.
    UnsupportedVersion {
        /// The version of the blob.
        version: u32,
        /// The oldest version that it says it is compatible with.
        last_compatible: u32,
    },
    /// The total size in the header is smaller than the header itself.
    TotalSizeTooSmall {
        /// The total size in the header, in bytes.
        total_size: usize,
    },
    /// A block does not lie between the header and the total size.
    BlockOutside {
        /// Which block.
        block: Block,
        /// Where the header says that it begins.
        offset: usize,
        /// Its size in bytes; 0 where the header does not state one.
        size: usize,
        /// The total size in the header, in bytes.
        total_size: usize,
    },
    /// A block does not begin at a multiple of its alignment.
    BlockMisaligned {
        /// Which block.
        block: Block,
        /// Where the header says that it begins.
        offset: usize,
        /// The alignment that the format demands, in bytes.
        alignment: usize,
    },
    /// The memory reservation block runs to the end of the blob without its last, empty entry.
    ReservationsUnterminated {
        /// Where the block begins.
        offset: usize,
    },
    /// The structure block is broken.
    Structure {
        /// Where the token stands that cannot be.
        offset: usize,
        /// What is wrong with it.
        fault: StructureFault,
    },
    /// Translating every address may take more than [`MAX_COMPARISONS`] comparisons.
    TooCostly {
        /// How many comparisons it may take.
        comparisons: u64,
    },
}

impl fmt::Display for DeviceTreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { size, needed } => write!(
                f,
                "the device tree is truncated: {needed:#x} bytes needed, {size:#x} there"
            ),
            Self::BadMagic { found } => write!(
                f,
                "not a device tree: it begins with {found:#010x}, not 0xd00dfeed"
            ),
            Self::UnsupportedVersion {
                version,
                last_compatible,
            } => write!(
                f,
                "device tree version {version}, compatible with {last_compatible}: only versions \
                 16, 17 and those compatible with 17 are read"
            ),
            Self::TotalSizeTooSmall { total_size } => write!(
                f,
                "the device tree's total size {total_size:#x} does not hold its header"
            ),
            Self::BlockOutside {
                block,
                offset,
                size,
                total_size,
            } => write!(
                f,
                "the device tree's {block}, {size:#x} bytes at offset {offset:#x}, is not between \
                 its header and its total size {total_size:#x}"
            ),
            Self::BlockMisaligned {
                block,
                offset,
                alignment,
            } => write!(
                f,
                "the device tree's {block} at offset {offset:#x} is not aligned to {alignment} bytes"
            ),
            Self::ReservationsUnterminated { offset } => write!(
                f,
                "the device tree's memory reservation block at offset {offset:#x} has no end"
            ),
            Self::Structure { offset, fault } => {
                write!(
                    f,
                    "the device tree is broken at offset {offset:#x}: {fault}"
                )
            }
            Self::TooCostly { comparisons } => write!(
                f,
                "the device tree has too many addresses below too many windows: {comparisons} \
                 comparisons, at most {MAX_COMPARISONS} are made"
            ),
        }
    }
}

impl core::error::Error for DeviceTreeError {}

/// What is wrong with a token of the structure block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StructureFault {
    /// The structure block ends before the token, its name or its value does.
    Truncated,
    /// The format has no such token.
    UnknownToken {
        /// The token.
        token: u32,
    },
    /// A property's name does not lie in the strings block with its NUL.
    NameOutsideStrings {
        /// The offset of the name in the strings block.
        name_offset: u32,
    },
    /// A property is in no node, or follows a child node.
    MisplacedProperty,
    /// A node ends that never began.
    UnbalancedEnd,
    /// The structure ends inside a node.
    NodeNotEnded,
    /// The structure ends before the first node.
    NoRoot,
    /// The root's name is not empty.
    NamedRoot,
    /// Something other than the end follows the root.
    AfterRoot,
    /// More than [`MAX_DEPTH`] nodes nest.
    TooDeep,
    /// The path of a node takes more than [`MAX_PATH_BYTES`].
    PathTooLong,
}

impl fmt::Display for StructureFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the structure block ends too early"),
            Self::UnknownToken { token } => write!(f, "unknown token {token:#x}"),
            Self::NameOutsideStrings { name_offset } => write!(
                f,
                "the property's name at {name_offset:#x} is not inside the strings block"
            ),
            Self::MisplacedProperty => {
                f.write_str("a property outside a node or after a child node")
            }
            Self::UnbalancedEnd => f.write_str("the end of a node that never began"),
            Self::NodeNotEnded => f.write_str("the end of the structure inside a node"),
            Self::NoRoot => f.write_str("no root node"),
            Self::NamedRoot => f.write_str("the root node has a name"),
            Self::AfterRoot => f.write_str("something follows the root node"),
            Self::TooDeep => write!(f, "nodes nest deeper than {MAX_DEPTH} levels"),
            Self::PathTooLong => {
                write!(f, "the node's path is longer than {MAX_PATH_BYTES} bytes")
            }
        }
    }
}

impl StructureFault {
    /// The error for this fault at `offset`.
    pub(crate) fn at(self, offset: usize) -> DeviceTreeError {
        DeviceTreeError::Structure {
            offset,
            fault: self,
        }
    }
}
