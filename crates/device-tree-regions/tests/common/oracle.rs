//! The rules once more, slowly: recursion over the nodes, numbers of 128 bits, paths as strings.

use crate::common::Node;

/// What a visit reports, without addresses where something is ignored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fact {
    Region(String, u64, u64, &'static str, usize),
    Ignored(String, &'static str, Option<usize>),
}

pub(crate) struct Oracle<'t> {
    pub(crate) root: &'t Node,
    pub(crate) passed: &'t [String],
    pub(crate) excluded: &'t [String],
    pub(crate) address_bits: u32,
}

/// A node and its parent, and so on up to the root.
type Chain<'t> = Vec<&'t Node>;

impl<'t> Oracle<'t> {
    pub(crate) fn passed_facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        for chain in chains(self.root) {
            let path = path_of(&chain);
            if at_or_below(&path, self.excluded) || !is_device(&chain) {
                continue;
            }
            let selected = at_or_below(&path, self.passed);
            let leads = self.passed.iter().any(|to| is_below(to, &path));
            if (selected || leads) && chain[1..].iter().all(|node| is_enabled(node)) {
                facts.extend(bus_faults(&chain));
            }
            if selected && chain.iter().all(|node| is_enabled(node)) {
                facts.extend(self.own_facts(&chain));
            }
        }
        facts.sort();
        facts
    }

    pub(crate) fn excluded_facts(&self) -> Vec<Fact> {
        let chains = chains(self.root).into_iter();
        let devices =
            chains.filter(|chain| at_or_below(&path_of(chain), self.excluded) && is_device(chain));
        let mut facts: Vec<Fact> = devices
            .flat_map(|chain| self.own_facts(&chain))
            .filter(|fact| matches!(fact, Fact::Region(..)))
            .collect();
        facts.sort();
        facts
    }

    fn own_facts(&self, chain: &Chain<'t>) -> Vec<Fact> {
        let mut facts = Vec::new();
        let [node, bus, ..] = chain[..] else {
            return facts;
        };
        let named_memory = chain.len() == 2 && node.name.split('@').next() == Some("memory");
        if named_memory || is_type(node, "memory") {
            return facts;
        }
        let (address, size) = (
            count(bus, "#address-cells", 2),
            count(bus, "#size-cells", 1),
        );
        match table(node.value("reg"), &[address, size]) {
            None => facts.push(Fact::Ignored(path_of(chain), "reg", None)),
            Some(rows) => {
                for (index, row) in rows.iter().enumerate() {
                    facts.extend(self.entry(chain, "reg", index, address, row[0], row[1]));
                }
            }
        }
        if is_type(node, "pci") {
            let counts = window_counts(node, bus);
            for (index, row) in table(node.value("ranges"), &counts)
                .unwrap_or_default()
                .iter()
                .enumerate()
                .filter(|_| (1..=2).contains(&counts[1]))
            {
                facts.extend(self.entry(chain, "ranges", index, counts[1], row[1], row[2]));
            }
        }
        facts
    }

    fn entry(
        &self,
        chain: &Chain<'t>,
        property: &'static str,
        index: usize,
        cells: usize,
        start: u128,
        size: u128,
    ) -> Option<Fact> {
        let path = path_of(chain);
        if size == 0 || cells > 2 {
            return None;
        }
        if cells == 0 || start + size > 1 << 64 {
            return Some(Fact::Ignored(path, property, Some(index)));
        }
        let start = to_cpu(&chain[1..], start, size)?;
        if start + size > 1 << self.address_bits {
            return Some(Fact::Ignored(path, property, Some(index)));
        }
        let (start, size) = (start as u64, size as u64);
        Some(Fact::Region(path, start, size, property, index))
    }
}

/// Every node with its ancestors, in the tree's order.
fn chains(root: &Node) -> Vec<Chain<'_>> {
    fn add<'t>(node: &'t Node, above: &Chain<'t>, out: &mut Vec<Chain<'t>>) {
        let mut chain = vec![node];
        chain.extend(above);
        out.push(chain.clone());
        for child in &node.children {
            add(child, &chain, out);
        }
    }
    let mut out = Vec::new();
    add(root, &Vec::new(), &mut out);
    out
}

pub(crate) fn paths(root: &Node) -> Vec<String> {
    chains(root).iter().map(path_of).collect()
}

fn path_of(chain: &Chain<'_>) -> String {
    let names = chain.iter().rev().skip(1).map(|node| &node.name);
    let path: String = names.map(|name| format!("/{name}")).collect();
    if path.is_empty() { "/".into() } else { path }
}

fn is_below(path: &str, above: &str) -> bool {
    let above = if above == "/" { "" } else { above };
    path != "/" && path.starts_with(&format!("{above}/"))
}

fn at_or_below(path: &str, of: &[String]) -> bool {
    of.iter()
        .any(|above| path == above || is_below(path, above))
}

fn is_device(chain: &Chain<'_>) -> bool {
    let path = path_of(chain);
    let hidden = ["/cpus".into(), "/reserved-memory".into()];
    !at_or_below(&path, &hidden) && !chain[1..].iter().any(|node| is_type(node, "pci"))
}

fn first_string(value: &[u8]) -> String {
    let string: Vec<u8> = value
        .iter()
        .copied()
        .take_while(|&byte| byte != 0)
        .collect();
    String::from_utf8_lossy(&string).into_owned()
}

fn is_type(node: &Node, wanted: &str) -> bool {
    node.value("device_type")
        .is_some_and(|value| first_string(value) == wanted)
}

fn is_enabled(node: &Node) -> bool {
    match node.value("status").map(first_string) {
        None => true,
        Some(status) => status == "ok" || status == "okay",
    }
}

fn count(node: &Node, name: &str, default: usize) -> usize {
    match node.value(name) {
        Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]) as usize,
        _ => default,
    }
}

fn window_counts(bus: &Node, parent: &Node) -> [usize; 3] {
    [
        count(bus, "#address-cells", 2),
        count(parent, "#address-cells", 2),
        count(bus, "#size-cells", 1),
    ]
}

/// Rows of numbers; numbers of more than 128 bits do not occur here. `None` if malformed.
fn table(value: Option<&[u8]>, counts: &[usize]) -> Option<Vec<Vec<u128>>> {
    let mut value = value.unwrap_or_default();
    let mut rows = Vec::new();
    while !value.is_empty() {
        let row: usize = counts.iter().map(|count| count * 4).sum();
        if row == 0 || value.len() < row {
            return None;
        }
        let mut numbers = Vec::new();
        for count in counts {
            let (number, rest) = value.split_at(count * 4);
            numbers.push(
                number
                    .iter()
                    .fold(0, |sum, &byte| sum << 8 | u128::from(byte)),
            );
            value = rest;
        }
        rows.push(numbers);
    }
    Some(rows)
}

fn to_cpu(buses: &[&Node], start: u128, size: u128) -> Option<u128> {
    let bus = buses[0];
    if !(1..=2).contains(&count(bus, "#address-cells", 2)) {
        return None;
    }
    let Some(parent) = buses.get(1) else {
        return Some(start);
    };
    let ranges = bus.value("ranges")?;
    let start = if ranges.is_empty() {
        start
    } else {
        let rows = table(Some(ranges), &window_counts(bus, parent))?;
        let hit = rows.iter().find(|row| {
            let wraps = row[0] + row[2] > 1 << 64 || row[1] + row[2] > 1 << 64;
            !wraps && row[0] <= start && start + size <= row[0] + row[2]
        })?;
        start - hit[0] + hit[1]
    };
    to_cpu(&buses[1..], start, size)
}

/// What is wrong with the properties that matter to others too.
fn bus_faults(chain: &Chain<'_>) -> Vec<Fact> {
    let node = chain[0];
    let mut faults = Vec::new();
    let mut fault = |name, index| faults.push(Fact::Ignored(path_of(chain), name, index));
    for name in ["status", "device_type"] {
        if node.value(name).is_some_and(|value| !value.ends_with(&[0])) {
            fault(name, None);
        }
    }
    for name in ["#address-cells", "#size-cells"] {
        if node.value(name).is_some_and(|value| value.len() != 4) {
            fault(name, None);
        }
    }
    if let (Some(parent), true) = (chain.get(1), is_enabled(node)) {
        let counts = window_counts(node, parent);
        match table(node.value("ranges"), &counts) {
            None => fault("ranges", None),
            Some(rows) => {
                let translates = !is_type(node, "pci")
                    && counts[..2].iter().all(|cells| (1..=2).contains(cells));
                for (index, row) in rows.iter().enumerate().filter(|_| translates) {
                    if row[2] > 0 && row[0].max(row[1]) + row[2] > 1 << 64 {
                        fault("ranges", Some(index));
                    }
                }
            }
        }
    }
    faults
}
