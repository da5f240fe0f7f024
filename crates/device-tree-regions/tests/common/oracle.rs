//! The rules once more, slowly: recursion over the nodes, numbers of 128 bits, paths as strings.

use crate::common::Node;

/// What a visit reports, without addresses where something is ignored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fact {
    Region(String, u64, u64, &'static str, usize),
    /// With what the entry asked for.
    Clipped(String, &'static str, usize, u64),
    Ignored(String, &'static str, Option<usize>),
    Idle(String, String),
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
            let selected = at_or_below(&path, self.passed);
            let leads = self.passed.iter().any(|to| is_below(to, &path));
            let excluded = at_or_below(&path, self.excluded);
            let hidden = ["/cpus".into(), "/reserved-memory".into()];
            let hidden = at_or_below(&path, &hidden);
            let parents_enabled = chain[1..].iter().all(|node| is_enabled(node));
            if (selected || leads) && !excluded && !hidden && parents_enabled {
                facts.extend(self.bus_faults(&chain));
            }
            if selected {
                facts.extend(self.selected_facts(&chain));
            }
        }
        facts.sort();
        facts
    }

    fn selected_facts(&self, chain: &Chain<'t>) -> Vec<Fact> {
        let path = path_of(chain);
        let idle = |why: String| vec![Fact::Idle(path.clone(), why)];
        let on_the_way = || (0..chain.len()).rev().map(|from| chain[from..].to_vec());
        if !is_device(chain) {
            return idle("no device".into());
        }
        let mut causes = on_the_way().map(|above| path_of(&above));
        if let Some(by) = causes.find(|above| self.excluded.contains(above)) {
            return idle(format!("excluded {by}"));
        }
        if let Some(by) = on_the_way().find(|above| !is_enabled(above[0])) {
            return idle(format!("disabled {}", path_of(&by)));
        }
        let mut facts = self.own_facts(chain);
        let has = |wanted: fn(&Fact) -> bool| facts.iter().any(wanted);
        if !has(|fact| matches!(fact, Fact::Region(..))) {
            let left_out = has(|fact| matches!(fact, Fact::Ignored(_, _, Some(_))));
            let why = if left_out {
                "not translated"
            } else {
                "no address"
            };
            facts.extend(idle(why.into()));
        }
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
        let (address, size) = (
            count(bus, "#address-cells", 2),
            count(bus, "#size-cells", 1),
        );
        let on_pci = is_type(bus, "pci");
        let property = if on_pci { "assigned-addresses" } else { "reg" };
        if !on_pci || address == 3 {
            match table(node.value(property), &[address, size]) {
                None => facts.push(Fact::Ignored(path_of(chain), property, None)),
                Some(rows) => {
                    for (index, row) in rows.iter().enumerate() {
                        if !on_pci || is_memory(row[0]) {
                            facts.extend(
                                self.entry(chain, property, index, address, row[0], row[1]),
                            );
                        }
                    }
                }
            }
        }
        let counts = window_counts(node, bus);
        if counts[0] == 3 || is_type(node, "pci") && !on_pci {
            let rows = table(node.value("ranges"), &counts).unwrap_or_default();
            for (index, row) in rows.iter().enumerate() {
                if !on_pci || counts[1] == 3 && is_memory(row[1]) {
                    facts.extend(self.entry(chain, "ranges", index, counts[1], row[1], row[2]));
                }
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
    ) -> Vec<Fact> {
        let path = path_of(chain);
        let ignored = vec![Fact::Ignored(path.clone(), property, Some(index))];
        if size == 0 {
            return vec![];
        }
        if cells == 0 || cells > 3 {
            return ignored;
        }
        let (space, start) = split(cells, start);
        if start + size > 1 << 64 {
            return ignored;
        }
        let Some((start, left)) = to_cpu(&chain[1..], space, start, size) else {
            return ignored;
        };
        if start + left > 1 << self.address_bits {
            return ignored;
        }
        let (start, left) = (start as u64, left as u64);
        let mut facts = vec![Fact::Region(path.clone(), start, left, property, index)];
        if u128::from(left) < size {
            facts.push(Fact::Clipped(path, property, index, size as u64));
        }
        facts
    }

    /// What is wrong with the properties that matter to others too.
    fn bus_faults(&self, chain: &Chain<'_>) -> Vec<Fact> {
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
        let (Some(parent), true) = (chain.get(1), is_enabled(node)) else {
            return faults;
        };
        let counts = window_counts(node, parent);
        let Some(rows) = table(node.value("ranges"), &counts) else {
            fault("ranges", None);
            return faults;
        };
        let translates = counts[..2].iter().all(|cells| (1..=3).contains(cells));
        // The far side of such a window is an entry by itself.
        let contributes = at_or_below(&path_of(chain), self.passed)
            && (counts[0] == 3 || is_type(node, "pci") && !is_type(parent, "pci"));
        for (index, row) in rows.iter().enumerate().filter(|_| translates) {
            let wraps =
                |side: usize| row[2] > 0 && split(counts[side], row[side]).1 + row[2] > 1 << 64;
            let is_entry =
                contributes && (!is_type(parent, "pci") || counts[1] == 3 && is_memory(row[1]));
            if (wraps(0) || wraps(1)) && !(is_entry && wraps(1)) {
                fault("ranges", Some(index));
            }
        }
        faults
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
    let node = chain[0];
    let named_memory = chain.len() == 2 && node.name.split('@').next() == Some("memory");
    !at_or_below(&path, &hidden) && !named_memory && !is_type(node, "memory")
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

/// The first of three cells, and the number behind it.
fn split(cells: usize, address: u128) -> (Option<u128>, u128) {
    match cells {
        3 => (Some(address >> 64), address & u128::from(u64::MAX)),
        _ => (None, address),
    }
}

/// Three cells with the space code 2 or 3.
fn is_memory(address: u128) -> bool {
    [2, 3].contains(&(address >> 88 & 3))
}

fn is_same_space(bus: &Node, one: Option<u128>, other: Option<u128>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) if is_type(bus, "pci") => {
            is_memory(one << 64) && is_memory(other << 64)
        }
        _ => one == other,
    }
}

/// Where the first byte leads, and how many bytes follow it.
fn to_cpu(buses: &[&Node], space: Option<u128>, start: u128, size: u128) -> Option<(u128, u128)> {
    let (bus, above) = buses.split_first()?;
    let cells = count(bus, "#address-cells", 2);
    let Some(parent) = above.first() else {
        return (1..=2).contains(&cells).then_some((start, size));
    };
    let counts = window_counts(bus, parent);
    if counts[..2].iter().any(|cells| !(1..=3).contains(cells)) {
        return None;
    }
    let rows = table(Some(bus.value("ranges")?), &counts)?;
    if rows.is_empty() {
        let same_width = (counts[0] == 3) == (counts[1] == 3);
        let matches = same_width && is_same_space(bus, space, space);
        return matches.then(|| to_cpu(above, space, start, size))?;
    }
    let windows: Vec<_> = rows
        .iter()
        .map(|row| (split(counts[0], row[0]), split(counts[1], row[1]), row[2]))
        .filter(|(child, target, size)| child.1.max(target.1) + size <= 1 << 64)
        .filter(|(child, _, size)| *size > 0 && is_same_space(bus, child.0, space))
        .collect();
    let first = windows
        .iter()
        .position(|(child, _, size)| child.1 <= start && start < child.1 + size)?;
    let (child, target, length) = windows[first];
    let (to_space, to) = (target.0, start - child.1 + target.1);
    let mut reached = child.1 + length;
    let mut at = first;
    while reached < start + size {
        let continues = |(child, target, _): &((_, u128), (_, u128), u128)| {
            child.1 == reached
                && target.1 == reached - start + to
                && is_same_space(parent, target.0, to_space)
        };
        let order = (at + 1..windows.len()).chain(0..at);
        let Some(next) = order.into_iter().find(|&next| continues(&windows[next])) else {
            break;
        };
        reached = windows[next].0.1 + windows[next].2;
        at = next;
    }
    to_cpu(above, to_space, to, reached.min(start + size) - start)
}
