//! One pass over the nodes, with what each inherits from those above it.

use crate::cells::{self, Cells};
use crate::dependency::is_phandle;
use crate::header::Blocks;
use crate::path::NodePath;
use crate::properties::Properties;
use crate::selection::Selection;
use crate::token::{Token, Tokens};
use crate::translate;
use crate::tree::MAX_DEPTH;

/// A node on the way from the root to the current one.
#[derive(Clone, Copy)]
pub(crate) struct Level<'a> {
    pub(crate) name: &'a [u8],
    /// What the node's children use.
    pub(crate) cells: Cells,
    /// How the node translates the addresses of its children: whole entries, or none at all.
    pub(crate) ranges: Option<&'a [u8]>,
    /// How many windows an address of a child may be compared with, here and above.
    pub(crate) comparisons: usize,
    /// The status of the node and of all above it allows it.
    pub(crate) is_enabled: bool,
    /// The node is a PCI bus.
    pub(crate) is_pci: bool,
    /// The node is or is below `/cpus` or `/reserved-memory`.
    pub(crate) is_no_device: bool,
    /// The node is at or below a passed path.
    pub(crate) is_selected: bool,
    /// The node is at or below an excluded path.
    pub(crate) is_excluded: bool,
    /// A passed path leads through the node to one below it.
    pub(crate) is_on_the_way: bool,
    /// Where the interrupts of the node go, as the node or the nearest above it says.
    pub(crate) interrupt_parent: Option<u32>,
}

impl<'a> Level<'a> {
    /// What a node without properties that is neither selected nor excluded would be, and what the
    /// root inherits.
    const ABOVE_ROOT: Self = Self {
        name: &[],
        cells: Cells::DEFAULT,
        ranges: None,
        comparisons: 0,
        is_enabled: true,
        is_pci: false,
        is_no_device: false,
        is_selected: false,
        is_excluded: false,
        is_on_the_way: true,
        interrupt_parent: None,
    };

    fn new(parent: &Self, depth: usize, name: &'a [u8], properties: &Properties<'a>) -> Self {
        let cells = properties.cells();
        let counts = window_counts(cells, parent.cells);
        let whole = |ranges: &&[u8]| cells::entries(ranges, counts).is_some();
        let ranges = properties.ranges.filter(whole);
        let comparisons = ranges.map_or(0, |ranges| {
            let windows = cells::count(ranges, counts);
            windows.saturating_mul(translate::passes(ranges, cells, parent.cells))
        });
        let hidden = depth == 1 && matches!(name, b"cpus" | b"reserved-memory");
        Self {
            name,
            cells,
            ranges,
            comparisons: parent.comparisons.saturating_add(comparisons),
            is_enabled: parent.is_enabled && properties.is_enabled(),
            is_pci: properties.device_type() == b"pci",
            is_no_device: parent.is_no_device || hidden,
            is_selected: parent.is_selected,
            is_excluded: parent.is_excluded,
            is_on_the_way: false,
            interrupt_parent: properties
                .interrupt_parent
                .and_then(cells::read_u32)
                .filter(|&number| is_phandle(number))
                .or(parent.interrupt_parent),
        }
    }
}

impl Level<'_> {
    /// Whether the node is passed through, if it is a device.
    pub(crate) fn is_passed(&self) -> bool {
        self.is_selected && !self.is_excluded && self.is_enabled
    }

    /// Whether the windows of the node, a child of `parent`, are regions of its own: those of a PCI host
    /// bridge, and of every bus whose addresses have three cells.
    pub(crate) fn contributes_windows(&self, parent: &Self) -> bool {
        self.cells.address == 3 || self.is_pci && !parent.is_pci
    }
}

/// The cells of an entry of `ranges`: the child's address, the parent's, the size.
pub(crate) fn window_counts(bus: Cells, parent: Cells) -> [u16; 3] {
    [bus.address, parent.address, bus.size]
}

pub(crate) struct Walk<'a, 's> {
    tokens: Tokens<'a>,
    selection: Selection<'s>,
    levels: [Level<'a>; MAX_DEPTH],
    /// How many levels are in use; the last of them is the current node.
    depth: usize,
}

impl<'a, 's> Walk<'a, 's> {
    pub(crate) fn new(blocks: Blocks<'a>, selection: Selection<'s>) -> Self {
        Self {
            tokens: Tokens::new(blocks),
            selection,
            levels: [Level::ABOVE_ROOT; MAX_DEPTH],
            depth: 0,
        }
    }

    /// Goes on to the next node, parents before children.
    ///
    /// The structure has been checked: an error here could only mean the end.
    pub(crate) fn next_node(&mut self) -> Option<Properties<'a>> {
        loop {
            match self.tokens.read().ok()? {
                Token::BeginNode { name } => {
                    let properties = Properties::read(&mut self.tokens);
                    self.enter(name, &properties)?;
                    return Some(properties);
                }
                Token::EndNode => self.depth = self.depth.checked_sub(1)?,
                Token::Nop | Token::Property { .. } => {}
                Token::End => return None,
            }
        }
    }

    /// The nodes from the root down to the current one.
    pub(crate) fn levels(&self) -> &[Level<'a>] {
        self.levels.get(..self.depth).unwrap_or_default()
    }

    pub(crate) fn path(&self) -> NodePath<'_> {
        NodePath::new(self.levels())
    }

    fn enter(&mut self, name: &'a [u8], properties: &Properties<'a>) -> Option<()> {
        let parent = self.levels().last().unwrap_or(&Level::ABOVE_ROOT);
        let was_on_the_way = parent.is_on_the_way;
        let level = Level::new(parent, self.depth, name, properties);
        *self.levels.get_mut(self.depth)? = level;
        self.depth = self.depth.checked_add(1)?;

        let path = self.path();
        let Selection {
            passed, excluded, ..
        } = self.selection;
        let is_selected = level.is_selected || passed.iter().any(|&wanted| path == *wanted);
        let is_excluded = level.is_excluded || excluded.iter().any(|&wanted| path == *wanted);
        let is_on_the_way = was_on_the_way && passed.iter().any(|wanted| path.is_above(wanted));
        let level = self.levels.get_mut(self.depth.checked_sub(1)?)?;
        level.is_selected = is_selected;
        level.is_excluded = is_excluded;
        level.is_on_the_way = is_on_the_way;
        Some(())
    }
}
