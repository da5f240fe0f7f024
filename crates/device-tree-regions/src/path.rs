//! The path of a node.

use core::fmt;

use crate::walk::Level;

/// The path of a node, such as `/soc/serial@10000000`; the root's is `/`.
///
/// It is not stored anywhere: `Display` writes it from the names on the way down, at most
/// [`MAX_PATH_BYTES`](crate::MAX_PATH_BYTES) long. Bytes that are not UTF-8 are written as U+FFFD.
#[derive(Clone, Copy)]
pub struct NodePath<'w> {
    /// The nodes from the root down to this one.
    levels: &'w [Level<'w>],
}

impl<'w> NodePath<'w> {
    pub(crate) fn new(levels: &'w [Level<'w>]) -> Self {
        Self { levels }
    }

    /// Whether the node has the given path or is below the node that has it.
    #[must_use]
    pub fn is_at_or_below(&self, path: &str) -> bool {
        if path == "/" {
            return true;
        }
        let mut rest = path.as_bytes();
        for name in self.names() {
            match rest
                .strip_prefix(b"/")
                .and_then(|rest| rest.strip_prefix(name))
            {
                Some(after) => rest = after,
                None => return false,
            }
            if rest.is_empty() {
                return true;
            }
        }
        false
    }

    /// Whether a node with the given path would be below this one.
    pub(crate) fn is_above(&self, path: &str) -> bool {
        let below = self.names().try_fold(path.as_bytes(), |rest, name| {
            rest.strip_prefix(b"/")?.strip_prefix(name)
        });
        below.is_some_and(|rest| rest.len() > 1 && rest.starts_with(b"/"))
    }

    /// The names below the root.
    fn names(&self) -> impl DoubleEndedIterator<Item = &'w [u8]> {
        self.levels.iter().skip(1).map(|level| level.name)
    }
}

/// Byte for byte. Looks at the last name first: cheap when the paths differ.
impl PartialEq<str> for NodePath<'_> {
    fn eq(&self, path: &str) -> bool {
        if self.levels.len() <= 1 {
            return path == "/";
        }
        let rest = self.names().rev().try_fold(path.as_bytes(), |rest, name| {
            rest.strip_suffix(name)?.strip_suffix(b"/")
        });
        rest.is_some_and(<[u8]>::is_empty)
    }
}

impl fmt::Display for NodePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.levels.len() <= 1 {
            return f.write_str("/");
        }
        for name in self.names() {
            f.write_str("/")?;
            for chunk in name.utf8_chunks() {
                f.write_str(chunk.valid())?;
                if !chunk.invalid().is_empty() {
                    f.write_str("\u{fffd}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for NodePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodePath({self})")
    }
}
