//! The header: where the blocks are.
//!
//! Devicetree Specification v0.4, section 5.2 (header) and 5.3 (memory reservation block).

use crate::error::{Block, DeviceTreeError};

const MAGIC: u32 = 0xd00d_feed;
const OLDEST_VERSION: u32 = 16;
const VERSION: u32 = 17;
/// Version 17 added the size of the structure block as the last field.
const HEADER_BYTES_16: usize = 36;
const HEADER_BYTES_17: usize = 40;
const RESERVATION_BYTES: usize = 16;

/// The blocks of a blob, cut out and inside its total size.
#[derive(Clone, Copy)]
pub(crate) struct Blocks<'a> {
    pub(crate) structure: &'a [u8],
    /// Where the structure block begins in the blob.
    pub(crate) structure_offset: usize,
    /// The strings block up to its last NUL: every offset inside is that of a terminated string.
    pub(crate) strings: &'a [u8],
    pub(crate) total_size: usize,
}

struct Header<'a> {
    /// The bytes of the total size.
    blob: &'a [u8],
    bytes: usize,
}

impl<'a> Blocks<'a> {
    pub(crate) fn locate(blob: &'a [u8]) -> Result<Self, DeviceTreeError> {
        let header = Header::read(blob)?;
        header.check_reservations()?;
        let (structure_offset, structure) = header.structure()?;
        let (_, strings) = header.block(Block::Strings, header.field(3), header.field(8))?;
        let terminated = strings.iter().rposition(|&byte| byte == 0);
        let strings = terminated.and_then(|last| strings.get(..=last));
        Ok(Self {
            structure,
            structure_offset,
            strings: strings.unwrap_or_default(),
            total_size: header.blob.len(),
        })
    }
}

impl<'a> Header<'a> {
    fn read(blob: &'a [u8]) -> Result<Self, DeviceTreeError> {
        let whole = Self {
            blob,
            bytes: HEADER_BYTES_16,
        };
        whole.check_size(4)?;
        let found = read_u32(blob, 0).unwrap_or_default();
        if found != MAGIC {
            return Err(DeviceTreeError::BadMagic { found });
        }
        whole.check_size(HEADER_BYTES_16)?;
        let bytes = whole.check_version()?;
        whole.check_size(bytes)?;
        let total_size = whole.field(1);
        if total_size < bytes {
            return Err(DeviceTreeError::TotalSizeTooSmall { total_size });
        }
        whole.check_size(total_size)?;
        let blob = blob.get(..total_size).unwrap_or_default();
        Ok(Self { blob, bytes })
    }

    fn check_size(&self, needed: usize) -> Result<(), DeviceTreeError> {
        let size = self.blob.len();
        if size < needed {
            return Err(DeviceTreeError::Truncated { size, needed });
        }
        Ok(())
    }

    /// The size of the header in this version.
    fn check_version(&self) -> Result<usize, DeviceTreeError> {
        let version = read_u32(self.blob, 20).unwrap_or_default();
        let last_compatible = read_u32(self.blob, 24).unwrap_or_default();
        if version < OLDEST_VERSION || last_compatible > VERSION || version < last_compatible {
            return Err(DeviceTreeError::UnsupportedVersion {
                version,
                last_compatible,
            });
        }
        Ok(if version < VERSION {
            HEADER_BYTES_16
        } else {
            HEADER_BYTES_17
        })
    }

    /// The field at the given place, counted in 32-bit words. Its presence has been checked.
    fn field(&self, index: usize) -> usize {
        let value = read_u32(self.blob, index.saturating_mul(4));
        value.unwrap_or_default() as usize
    }

    fn block(
        &self,
        block: Block,
        offset: usize,
        size: usize,
    ) -> Result<(usize, &'a [u8]), DeviceTreeError> {
        let end = offset.checked_add(size);
        let bytes = end.and_then(|end| self.blob.get(offset..end));
        match bytes {
            Some(bytes) if offset >= self.bytes => Ok((offset, bytes)),
            _ => Err(DeviceTreeError::BlockOutside {
                block,
                offset,
                size,
                total_size: self.blob.len(),
            }),
        }
    }

    /// A block that runs to the end of the blob because the header does not state its size.
    fn open_block(
        &self,
        block: Block,
        offset: usize,
    ) -> Result<(usize, &'a [u8]), DeviceTreeError> {
        let (_, _) = self.block(block, offset, 0)?;
        Ok((offset, self.blob.get(offset..).unwrap_or_default()))
    }

    fn structure(&self) -> Result<(usize, &'a [u8]), DeviceTreeError> {
        let offset = self.field(2);
        check_alignment(Block::Structure, offset, 4)?;
        if self.bytes == HEADER_BYTES_16 {
            self.open_block(Block::Structure, offset)
        } else {
            self.block(Block::Structure, offset, self.field(9))
        }
    }

    /// The reservations themselves say nothing about devices: they only have to end.
    fn check_reservations(&self) -> Result<(), DeviceTreeError> {
        let offset = self.field(4);
        check_alignment(Block::Reservations, offset, 8)?;
        let (_, entries) = self.open_block(Block::Reservations, offset)?;
        let mut sizes = entries
            .chunks_exact(RESERVATION_BYTES)
            .filter_map(|entry| entry.get(8..));
        if sizes.any(|size| size.iter().all(|&byte| byte == 0)) {
            return Ok(());
        }
        Err(DeviceTreeError::ReservationsUnterminated { offset })
    }
}

fn check_alignment(block: Block, offset: usize, alignment: usize) -> Result<(), DeviceTreeError> {
    if offset.is_multiple_of(alignment) {
        return Ok(());
    }
    Err(DeviceTreeError::BlockMisaligned {
        block,
        offset,
        alignment,
    })
}

fn read_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    let word = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_be_bytes(*word))
}
