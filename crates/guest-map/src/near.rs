//! Paths that somebody may have meant.

use std::cmp::Reverse;

/// How many paths are worth naming.
const NAMED: usize = 3;

/// The paths that resemble `wanted` most, the best first; none where nothing does.
pub(crate) fn near_paths<'p>(wanted: &str, paths: impl Iterator<Item = &'p str>) -> Vec<&'p str> {
    let mut scored: Vec<_> = paths
        .filter(|path| *path != "/")
        .map(|path| (Reverse(score(wanted, path)), path))
        .filter(|(Reverse(score), _)| *score > Score::default())
        .collect();
    scored.sort_unstable();
    scored
        .into_iter()
        .take(NAMED)
        .map(|(_, path)| path)
        .collect()
}

/// How much two paths have in common. What comes first counts most.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    /// The same last name, unit address included.
    same_name: bool,
    /// The same last name before the unit address.
    same_device: bool,
    /// The same unit address.
    same_address: bool,
    /// How many names from the root on are the same.
    names: usize,
    /// How many bytes the last names have in common at their start, where they are of the same bus.
    bytes: usize,
}

fn score(wanted: &str, path: &str) -> Score {
    let (wanted_bus, wanted_name) = split(wanted);
    let (bus, name) = split(path);
    let (wanted_device, wanted_address) = unit(wanted_name);
    let (device, address) = unit(name);
    let names = wanted_bus.split('/').zip(bus.split('/'));
    let names = names.take_while(|(wanted, name)| wanted == name).count() - 1;
    let same_name = wanted_name == name;
    let same_device = wanted_device == device;
    let same_address = !address.is_empty() && wanted_address == address;
    let bytes = match wanted_bus == bus {
        true => common_prefix(wanted_name, name),
        false => 0,
    };
    match same_name || same_device || same_address || bytes > 1 {
        true => Score {
            same_name,
            same_device,
            same_address,
            names,
            bytes,
        },
        false => Score::default(),
    }
}

/// The path of the parent, and the name.
fn split(path: &str) -> (&str, &str) {
    path.trim_end_matches('/')
        .rsplit_once('/')
        .unwrap_or(("", path))
}

fn unit(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

fn common_prefix(one: &str, other: &str) -> usize {
    let pairs = one.bytes().zip(other.bytes());
    pairs.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::near_paths;

    const PATHS: [&str; 5] = [
        "/",
        "/soc",
        "/soc/serial@10000000",
        "/soc/rtc@101000",
        "/pcie@30000000",
    ];

    #[test]
    fn resembling_paths_are_near() {
        let near = |wanted| near_paths(wanted, PATHS.into_iter());
        assert_eq!(near("/soc/serial@10000100"), ["/soc/serial@10000000"]);
        assert_eq!(near("/serial@10000000"), ["/soc/serial@10000000"]);
        assert_eq!(near("/soc/uart@10000000"), ["/soc/serial@10000000"]);
        assert_eq!(near("/soc/serial@10000000/"), ["/soc/serial@10000000"]);
        assert_eq!(near("/pcie"), ["/pcie@30000000"]);
        assert_eq!(near("soc"), ["/soc"]);
        assert!(near("/cpus").is_empty());
        assert!(near("").is_empty());
    }
}
