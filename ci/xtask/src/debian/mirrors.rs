//! Where packages come from: the mirrors that this system uses.

use std::env;
use std::process::Command;

use crate::process;

/// Names a mirror of Debian, for systems whose apt knows none.
const MIRROR: &str = "XTASK_DEBIAN_MIRROR";

/// The mirrors to try, in this order: `XTASK_DEBIAN_MIRROR` if it is set, else what the system's apt uses.
///
/// # Errors
///
/// When the system has no apt, or its apt knows no mirror.
pub(super) fn mirrors() -> Result<Vec<String>, String> {
    if let Ok(mirror) = env::var(MIRROR)
        && !mirror.is_empty()
    {
        return Ok(vec![mirror]);
    }
    // This asks nobody and changes nothing: it prints what an update would fetch.
    let uris = process::output(Command::new("apt-get").args(["update", "--print-uris"]))?;
    match mirrors_in(&uris) {
        mirrors if mirrors.is_empty() => Err(format!("apt knows no mirror; {MIRROR} can name one")),
        mirrors => Ok(mirrors),
    }
}

/// The addresses in front of `/dists/`, each once, in the order of the system's sources.
fn mirrors_in(uris: &str) -> Vec<String> {
    let mut mirrors = Vec::new();
    for line in uris.lines() {
        let mirror = line
            .strip_prefix('\'')
            .and_then(|uri| uri.split_once("/dists/"))
            .map(|(mirror, _)| mirror.to_owned())
            .filter(|mirror| !mirror.starts_with("cdrom:"));
        mirrors.extend(mirror.filter(|mirror| !mirrors.contains(mirror)));
    }
    mirrors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_what_an_update_would_ask() {
        let uris = "'http://a.example/debian/dists/bookworm/InRelease' a 0 \n\
                    'http://a.example/debian/dists/bookworm-updates/InRelease' b 0 \n\
                    'cdrom:[Debian]/dists/bookworm/InRelease' c 0 \n\
                    'mirror+file:/etc/apt/mirrors.txt/dists/noble/main/Packages.xz' d 0 SHA256:0\n";
        let mirrors = [
            "http://a.example/debian",
            "mirror+file:/etc/apt/mirrors.txt",
        ];
        assert_eq!(mirrors_in(uris), mirrors);
        assert_eq!(mirrors_in("E: nothing\n"), [""; 0]);
    }
}
