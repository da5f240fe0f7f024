//! The shape of the structure block, checked once from end to end.

use crate::error::{DeviceTreeError, StructureFault};
use crate::header::Blocks;
use crate::token::{Token, Tokens};
use crate::tree::{MAX_DEPTH, MAX_PATH_BYTES};

/// One pass over the block, in time proportional to its size.
pub(crate) fn check(blocks: Blocks<'_>) -> Result<(), DeviceTreeError> {
    let mut tokens = Tokens::new(blocks);
    let mut shape = Shape::new();
    loop {
        let offset = tokens.offset();
        match tokens.read()? {
            Token::End => return shape.finish(offset),
            token => shape.accept(token, offset)?,
        }
    }
}

struct Shape {
    /// The bytes that each open node adds to the path of its children.
    name_bytes: [usize; MAX_DEPTH],
    path_bytes: usize,
    depth: usize,
    root_seen: bool,
    /// Whether a property may come: the last node that began has neither ended nor had a child.
    in_properties: bool,
}

impl Shape {
    fn new() -> Self {
        Self {
            name_bytes: [0; MAX_DEPTH],
            path_bytes: 0,
            depth: 0,
            root_seen: false,
            in_properties: false,
        }
    }

    fn accept(&mut self, token: Token<'_>, offset: usize) -> Result<(), DeviceTreeError> {
        if self.root_seen && self.depth == 0 {
            return Err(match token {
                Token::EndNode => StructureFault::UnbalancedEnd.at(offset),
                _ => StructureFault::AfterRoot.at(offset),
            });
        }
        match token {
            Token::BeginNode { name } => self.begin(name, offset),
            Token::EndNode => self.end(offset),
            Token::Property { .. } if !self.in_properties => {
                Err(StructureFault::MisplacedProperty.at(offset))
            }
            Token::Property { .. } | Token::Nop | Token::End => Ok(()),
        }
    }

    fn begin(&mut self, name: &[u8], offset: usize) -> Result<(), DeviceTreeError> {
        if self.depth == 0 && !name.is_empty() {
            return Err(StructureFault::NamedRoot.at(offset));
        }
        let Some(name_bytes) = self.name_bytes.get_mut(self.depth) else {
            return Err(StructureFault::TooDeep.at(offset));
        };
        *name_bytes = if self.depth == 0 {
            0
        } else {
            name.len().saturating_add(1)
        };
        self.path_bytes = self.path_bytes.saturating_add(*name_bytes);
        if self.path_bytes > MAX_PATH_BYTES {
            return Err(StructureFault::PathTooLong.at(offset));
        }
        self.depth = self.depth.saturating_add(1);
        self.root_seen = true;
        self.in_properties = true;
        Ok(())
    }

    fn end(&mut self, offset: usize) -> Result<(), DeviceTreeError> {
        let depth = self.depth.checked_sub(1);
        self.depth = depth.ok_or(StructureFault::UnbalancedEnd.at(offset))?;
        let name_bytes = self.name_bytes.get(self.depth).copied();
        self.path_bytes = self.path_bytes.saturating_sub(name_bytes.unwrap_or(0));
        self.in_properties = false;
        Ok(())
    }

    fn finish(&self, offset: usize) -> Result<(), DeviceTreeError> {
        match (self.root_seen, self.depth) {
            (false, _) => Err(StructureFault::NoRoot.at(offset)),
            (true, 0) => Ok(()),
            (true, _) => Err(StructureFault::NodeNotEnded.at(offset)),
        }
    }
}
