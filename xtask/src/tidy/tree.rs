//! The tree that the rules judge: every file's text in memory, beside what cargo says of the members. Leaves out build
//! output and version control; a file that is not UTF-8 is there by name only.

use std::{collections::BTreeMap, fs, path::Path};

use crate::workspace::{Package, Workspace};

/// All files of the workspace by their path from the root, with forward slashes.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) workspace: Workspace,
}

impl Tree {
    /// Reads the tree below `root`. The error is a sentence for the terminal.
    pub(crate) fn load(root: &Path) -> Result<Tree, String> {
        let mut tree = Tree { workspace: Workspace::load()?, ..Tree::default() };
        tree.read_dir(root, "")?;
        Ok(tree)
    }

    fn read_dir(&mut self, dir: &Path, prefix: &str) -> Result<(), String> {
        let cannot_read = |error| format!("cannot read {}: {error}", dir.display());
        for entry in fs::read_dir(dir).map_err(cannot_read)? {
            let entry = entry.map_err(cannot_read)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            // A link is not followed: it may lead out of the tree or in a circle.
            let kind = entry.file_type().map_err(cannot_read)?;
            if kind.is_dir() {
                if is_ours(&entry.path(), &name) {
                    self.read_dir(&entry.path(), &format!("{path}/"))?;
                }
            } else if kind.is_file() {
                let bytes = fs::read(entry.path()).map_err(cannot_read)?;
                self.files.insert(path, String::from_utf8(bytes).unwrap_or_default());
            }
        }
        Ok(())
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether a file or a folder of this name is there.
    pub(crate) fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        self.files.contains_key(path) || self.files.keys().any(|file| file.starts_with(&folder))
    }

    /// Every Rust file of the members: sources, tests, benches, examples.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.with_extension(".rs").filter(|(path, _)| self.workspace.owner_of(path).is_some())
    }

    /// The Rust files below some member's `src`, as member, path, text.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&Package, &str, &str)> {
        self.with_extension(".rs").filter_map(|(path, text)| {
            let owner = self.workspace.owner_of(path)?;
            path[owner.dir.len()..].starts_with("/src/").then_some((owner, path, text))
        })
    }

    pub(crate) fn markdown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.with_extension(".md")
    }

    fn with_extension<'a>(
        &'a self,
        extension: &'static str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files
            .iter()
            .filter(move |(path, _)| path.ends_with(extension))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

/// Not build output, which cargo marks with a tag, and not the hidden folder of some tool.
fn is_ours(dir: &Path, name: &str) -> bool {
    let known = !name.starts_with('.') || matches!(name, ".cargo" | ".ci" | ".github");
    known && name != "target" && !dir.join("CACHEDIR.TAG").exists()
}

/// Lines with their numbers from 1.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// Lines that are not wholly comment.
pub(crate) fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    lines(text).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Code lines above the first `#[cfg(test)]`, or its form in files that loom builds too.
pub(crate) fn product_code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    code(text).take_while(|(_, line)| {
        !matches!(
            line.trim(),
            "#[cfg(test)]"
                | "#[cfg(all(test, not(loom)))]"
                | "#[cfg(all(test, not(any(loom, shuttle))))]"
        )
    })
}

/// Number of the first line that holds `needle`, or 1.
pub(crate) fn line_of(text: &str, needle: &str) -> usize {
    lines(text).find(|(_, line)| line.contains(needle)).map_or(1, |(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_output_and_hidden_folders_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["src", ".ci", ".git", "target", "elsewhere"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
            fs::write(dir.path().join(folder).join("x.rs"), "//! X.").unwrap();
        }
        fs::write(dir.path().join("elsewhere/CACHEDIR.TAG"), "").unwrap();
        let mut tree = Tree::default();
        tree.read_dir(dir.path(), "").unwrap();
        assert_eq!(tree.files.keys().collect::<Vec<_>>(), [".ci/x.rs", "src/x.rs"]);
    }

    #[test]
    fn product_code_ends_at_the_tests_and_leaves_comments_out() {
        let text = "a\n// b\n#[cfg(all(test, loom))]\nmod loom_x;\n#[cfg(test)]\nc\n";
        let numbers: Vec<_> = product_code(text).map(|(number, _)| number).collect();
        assert_eq!(numbers, [1, 3, 4]);
    }
}

#[cfg(test)]
pub(crate) mod example {
    //! Tiny trees for the rules' own tests.

    use super::*;
    use crate::tidy::Finding;

    /// A tree of these files with the members `a` (floor 0, in crates/a) and `xtask`.
    pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
        let files = files.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect();
        let packages = vec![
            Package { floor: Some(0), has_library: true, ..member("a", "crates/a") },
            member("xtask", "xtask"),
        ];
        Tree { files, workspace: Workspace { packages, ..Workspace::default() } }
    }

    pub(crate) fn member(name: &str, dir: &str) -> Package {
        Package { name: name.into(), dir: dir.into(), ..Package::default() }
    }

    /// Findings as `file:line`, to compare in a line of a test.
    pub(crate) fn places(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|f| format!("{}:{}", f.file, f.line)).collect()
    }
}
