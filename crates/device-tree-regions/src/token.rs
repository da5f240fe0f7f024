//! The tokens of the structure block.
//!
//! Devicetree Specification v0.4, section 5.4.1.

use crate::error::{DeviceTreeError, StructureFault};
use crate::header::Blocks;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Token<'a> {
    BeginNode {
        name: &'a [u8],
    },
    EndNode,
    /// The name is followed by its NUL and the rest of the strings block.
    Property {
        name: &'a [u8],
        value: &'a [u8],
    },
    Nop,
    End,
}

/// Reads one token after the other; each read takes time in proportion to its token.
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a> {
    blocks: Blocks<'a>,
    /// Counted from the start of the structure block, a multiple of 4.
    position: usize,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(blocks: Blocks<'a>) -> Self {
        Self {
            blocks,
            position: 0,
        }
    }

    /// The place of the next token in the blob, for messages.
    pub(crate) fn offset(&self) -> usize {
        self.blocks.structure_offset.saturating_add(self.position)
    }

    /// The next token. After an error the position is where it was.
    pub(crate) fn read(&mut self) -> Result<Token<'a>, DeviceTreeError> {
        let offset = self.offset();
        let mut ahead = *self;
        let word = ahead.word();
        let token = match word.ok_or(StructureFault::Truncated.at(offset))? {
            BEGIN_NODE => ahead.name().map(|name| Token::BeginNode { name }),
            END_NODE => Some(Token::EndNode),
            PROPERTY => ahead.property(offset)?,
            NOP => Some(Token::Nop),
            END => Some(Token::End),
            token => return Err(StructureFault::UnknownToken { token }.at(offset)),
        };
        let token = token.ok_or(StructureFault::Truncated.at(offset))?;
        *self = ahead;
        Ok(token)
    }

    fn rest(&self) -> &'a [u8] {
        self.blocks
            .structure
            .get(self.position..)
            .unwrap_or_default()
    }

    fn word(&mut self) -> Option<u32> {
        let word = self.rest().first_chunk()?;
        self.skip(4);
        Some(u32::from_be_bytes(*word))
    }

    fn name(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest();
        let length = rest.iter().position(|&byte| byte == 0)?;
        self.skip(length.saturating_add(1));
        rest.get(..length)
    }

    fn property(&mut self, offset: usize) -> Result<Option<Token<'a>>, DeviceTreeError> {
        let (Some(length), Some(name_offset)) = (self.word(), self.word()) else {
            return Ok(None);
        };
        let Some(value) = self.rest().get(..length as usize) else {
            return Ok(None);
        };
        self.skip(value.len());
        match self.blocks.strings.get(name_offset as usize..) {
            Some(name) if !name.is_empty() => Ok(Some(Token::Property { name, value })),
            _ => Err(StructureFault::NameOutsideStrings { name_offset }.at(offset)),
        }
    }

    /// Tokens begin at multiples of 4. Cannot overflow: a slice is at most `isize::MAX` long.
    fn skip(&mut self, bytes: usize) {
        self.position = self.position.saturating_add(bytes).next_multiple_of(4);
    }
}
