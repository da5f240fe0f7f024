//! The functions of a linked program.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

/// The machine code of each function, by its name.
#[derive(Debug, Default)]
pub(super) struct Program(BTreeMap<String, Vec<u8>>);

impl Program {
    /// Reads the program at `path`.
    ///
    /// # Errors
    ///
    /// When it is no program that can be read.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let describe =
            |reason: &dyn ToString| format!("{}: {}", path.display(), reason.to_string());
        let data = fs::read(path).map_err(|error| describe(&error))?;
        let file = object::File::parse(&*data).map_err(|error| describe(&error))?;
        let mut functions = BTreeMap::new();
        for symbol in file.symbols() {
            let Some(section) = symbol.section_index() else {
                continue;
            };
            if symbol.kind() != SymbolKind::Text || symbol.size() == 0 {
                continue;
            }
            let code = file
                .section_by_index(section)
                .and_then(|section| section.data_range(symbol.address(), symbol.size()))
                .map_err(|error| describe(&error))?;
            let name = symbol.name().map_err(|error| describe(&error))?;
            functions.insert(name.to_owned(), code.unwrap_or_default().to_vec());
        }
        Ok(Self(functions))
    }

    /// A program of one function.
    #[cfg(test)]
    pub(super) fn of(name: &str, code: &[u8]) -> Self {
        Self(BTreeMap::from([(name.to_owned(), code.to_vec())]))
    }

    /// The machine code of the function `name`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(super) fn function(&self, name: &str) -> Result<&[u8], String> {
        self.0
            .get(name)
            .map(Vec::as_slice)
            .ok_or_else(|| format!("{name}: not in the program"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_has_functions() {
        let program = Program::read(&std::env::current_exe().unwrap()).unwrap();
        assert!(program.0.len() > 100);
        assert!(program.function("main").is_ok_and(|code| !code.is_empty()));
        assert!(program.function("no such function").is_err());
        assert!(Program::read(Path::new("/dev/null")).is_err());
    }
}
