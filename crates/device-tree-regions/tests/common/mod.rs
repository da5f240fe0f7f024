//! A device tree to build in a test, and its flattened form.
#![allow(dead_code, reason = "each test uses a part of it")]

/// A node as a test writes it: any name, any bytes, no checks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) properties: Vec<(String, Vec<u8>)>,
    pub(crate) children: Vec<Node>,
}

impl Node {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    pub(crate) fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        self.bytes(name, &[value.as_bytes(), b"\0"].concat())
    }

    pub(crate) fn cells(self, name: &str, values: &[u32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.bytes(name, &bytes)
    }

    pub(crate) fn bus(self, address: u32, size: u32) -> Self {
        self.cells("#address-cells", &[address])
            .cells("#size-cells", &[size])
    }

    pub(crate) fn child(mut self, child: Node) -> Self {
        self.children.push(child);
        self
    }

    pub(crate) fn value(&self, name: &str) -> Option<&[u8]> {
        let mut found = self.properties.iter().filter(|(own, _)| own == name);
        found.next().map(|(_, value)| value.as_slice())
    }
}

#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) structure: Vec<u8>,
    pub(crate) strings: Vec<u8>,
}

impl Writer {
    pub(crate) fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    pub(crate) fn begin(&mut self, name: &str) {
        self.word(1);
        self.structure.extend(name.as_bytes());
        self.structure.push(0);
        self.pad();
    }

    pub(crate) fn end_node(&mut self) {
        self.word(2);
    }

    pub(crate) fn property(&mut self, name: &str, value: &[u8]) {
        let terminated = [name.as_bytes(), b"\0"].concat();
        let known = self.strings.windows(terminated.len());
        let place = known.into_iter().position(|window| window == terminated);
        let offset = place.unwrap_or_else(|| {
            self.strings.extend(&terminated);
            self.strings.len() - terminated.len()
        });
        self.word(3);
        self.word(value.len() as u32);
        self.word(offset as u32);
        self.structure.extend(value);
        self.pad();
    }

    pub(crate) fn node(&mut self, node: &Node) {
        self.begin(&node.name);
        for (name, value) in &node.properties {
            self.property(name, value);
        }
        for child in &node.children {
            self.node(child);
        }
        self.end_node();
    }

    fn pad(&mut self) {
        self.structure
            .resize(self.structure.len().next_multiple_of(4), 0);
    }

    /// Header, one empty reservation, structure, strings.
    pub(crate) fn blob(mut self) -> Vec<u8> {
        self.word(9);
        let strings_at = STRUCTURE_AT + self.structure.len();
        let total = strings_at + self.strings.len();
        let header = [
            0xd00d_feed,
            total as u32,
            STRUCTURE_AT as u32,
            strings_at as u32,
            40,
            17,
            16,
            0,
            self.strings.len() as u32,
            self.structure.len() as u32,
        ];
        let header = header.iter().flat_map(|word: &u32| word.to_be_bytes());
        let mut blob: Vec<u8> = header.chain([0; 16]).collect();
        blob.extend(self.structure);
        blob.extend(self.strings);
        blob
    }
}

pub(crate) const STRUCTURE_AT: usize = 56;

pub(crate) fn flatten(root: &Node) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.node(root);
    writer.blob()
}
