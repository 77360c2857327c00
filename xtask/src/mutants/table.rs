//! `mutants.toml` of each crate, read: which breakages there are, and what must catch them.

use std::{fmt, fs};

use crate::workspace::{self, Workspace};

/// One deliberate breakage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mutant {
    pub(crate) package: String,
    /// The package's folder, relative to the root.
    pub(crate) dir: String,
    pub(crate) name: String,
    pub(crate) breaks: String,
    pub(crate) check: Check,
    /// The test's full path in its program.
    pub(crate) test: String,
    /// Names of oracles, one of which must say why the test is red; empty: any reason will do.
    pub(crate) says: Vec<String>,
}

/// Where the test is that must go red.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Among the library's own tests.
    Lib,
    /// In a file of `tests/`.
    File(String),
    Loom,
    Shuttle,
}

/// Checks of one build share their flags and programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Build {
    Tests,
    Loom,
    Shuttle,
}

impl Check {
    fn parse(text: &str) -> Option<Check> {
        match text {
            "lib" => Some(Check::Lib),
            "loom" => Some(Check::Loom),
            "shuttle" => Some(Check::Shuttle),
            _ => Some(Check::File(text.strip_prefix("test:")?.to_owned())),
        }
    }

    pub(crate) fn build(&self) -> Build {
        match self {
            Check::Lib | Check::File(_) => Build::Tests,
            Check::Loom => Build::Loom,
            Check::Shuttle => Build::Shuttle,
        }
    }

    /// The test program's target.
    pub(crate) fn target(&self) -> &str {
        match self {
            Check::File(name) => name,
            Check::Lib | Check::Loom | Check::Shuttle => "lib",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::Lib => f.write_str("lib"),
            Check::File(name) => write!(f, "test:{name}"),
            Check::Loom => f.write_str("loom"),
            Check::Shuttle => f.write_str("shuttle"),
        }
    }
}

impl Build {
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Build::Tests => &["--lib", "--tests"],
            Build::Loom | Build::Shuttle => &["--release", "--lib"],
        }
    }

    pub(crate) fn flags(self) -> &'static str {
        match self {
            Build::Tests => "",
            Build::Loom => "--cfg loom",
            Build::Shuttle => "--cfg shuttle",
        }
    }

    pub(crate) fn target_dir(self) -> &'static str {
        match self {
            Build::Tests => "target/mutants",
            Build::Loom => "target/mutants-loom",
            Build::Shuttle => "target/mutants-shuttle",
        }
    }
}

/// All breakages of all crates, in the crates' order. The error names file and row.
pub(crate) fn all(workspace: &Workspace) -> Result<Vec<Mutant>, String> {
    let mut mutants: Vec<Mutant> = Vec::new();
    for package in &workspace.packages {
        let path = format!("{}/mutants.toml", package.dir);
        let Ok(text) = fs::read_to_string(workspace::root().join(&path)) else { continue };
        for mutant in parse(&package.name, &package.dir, &text)
            .map_err(|reason| format!("{path}: {reason}"))?
        {
            if let Some(other) = mutants.iter().find(|other| other.name == mutant.name) {
                return Err(format!("{path}: {} is also one of {}", mutant.name, other.package));
            }
            mutants.push(mutant);
        }
    }
    Ok(mutants)
}

/// The rows of one file.
pub(crate) fn parse(package: &str, dir: &str, text: &str) -> Result<Vec<Mutant>, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let rows = table.get("mutant").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    rows.iter()
        .enumerate()
        .map(|(number, row)| {
            let word = |key: &str| match row.get(key).and_then(toml::Value::as_str) {
                Some(word) if !word.is_empty() => Ok(word.to_owned()),
                _ => Err(format!("mutant {} has no {key}", number + 1)),
            };
            let check = word("check")?;
            let instead = "expected lib, test:<file>, loom or shuttle";
            Ok(Mutant {
                package: package.to_owned(),
                dir: dir.to_owned(),
                name: word("name")?,
                breaks: word("breaks")?,
                check: Check::parse(&check).ok_or(format!("check is {check:?}, {instead}"))?,
                test: word("test")?,
                says: match row.get("says") {
                    None => Vec::new(),
                    Some(_) => word("says")?.split('/').map(str::to_owned).collect(),
                },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str =
        "[[mutant]]\nname = \"a-b\"\nbreaks = \"x\"\ncheck = \"test:ids\"\ntest = \"t\"\n";

    #[test]
    fn a_row_is_read_and_a_missing_or_wrong_word_is_named() {
        let mutant = &parse("p", "crates/p", ROW).unwrap()[0];
        assert_eq!((mutant.check.target(), mutant.check.build()), ("ids", Build::Tests));
        assert_eq!(mutant.check.to_string(), "test:ids");
        assert!(mutant.says.is_empty());
        let says = &parse("p", "", &format!("{ROW}says = \"O2/O9\"\n")).unwrap()[0].says;
        assert_eq!(says, &["O2", "O9"]);
        let error = parse("p", "", &ROW.replace("breaks = \"x\"", "")).unwrap_err();
        assert_eq!(error, "mutant 1 has no breaks");
        let error = parse("p", "", &ROW.replace("test:ids", "ids")).unwrap_err();
        assert!(error.contains("check is \"ids\", expected lib"), "{error}");
        assert!(parse("p", "", "[[").is_err());
    }
}
