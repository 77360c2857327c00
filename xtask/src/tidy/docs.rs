//! Rules on the papers: ARCHITECTURE.md against the members, DEPENDENCIES.md against the root manifest, and the form of
//! every Markdown file. Links to other hosts are not followed.

use std::collections::BTreeMap;

use super::{
    Finding, Tree,
    tree::{line_of, lines},
};

const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";
const DEPENDENCIES: &str = "docs/DEPENDENCIES.md";

/// A heading whose first word is a member's name, or is in backticks, is that member's section.
pub(super) fn architecture_names_each_member(tree: &Tree) -> Vec<Finding> {
    let rule = "architecture";
    let Some(text) = tree.text(ARCHITECTURE) else {
        return vec![Finding::new(ARCHITECTURE, 1, rule, "not there", "write it")];
    };
    let mut headings = BTreeMap::new();
    for (number, line) in outside_fences(text).filter(|(_, line)| line.starts_with('#')) {
        let first = line.trim_start_matches('#').split_whitespace().next().unwrap_or_default();
        let name = first.trim_matches(|c: char| !c.is_alphanumeric()).rsplit('/').next();
        let name = name.unwrap_or_default();
        if first.starts_with('`')
            || name.starts_with("ng-")
            || tree.workspace.package(name).is_some()
        {
            headings.insert(name, number);
        }
    }
    let mut findings = Vec::new();
    for package in &tree.workspace.packages {
        if headings.remove(package.name.as_str()).is_none() {
            let what = format!("no heading for `{}`", package.name);
            let instead = "add one to the code map: what it is and what is absent from it";
            findings.push(Finding::new(ARCHITECTURE, 1, rule, what, instead));
        }
    }
    for (name, number) in headings {
        let what = format!("heading `{name}` names no member");
        findings.push(Finding::new(ARCHITECTURE, number, rule, what, "remove it"));
    }
    findings
}

pub(super) fn each_dependency_has_its_line(tree: &Tree) -> Vec<Finding> {
    let rule = "dependencies";
    let manifest = tree.text("Cargo.toml").unwrap_or_default();
    let Some(text) = tree.text(DEPENDENCIES) else {
        return vec![Finding::new(DEPENDENCIES, 1, rule, "not there", "write it")];
    };
    let mut told: BTreeMap<&str, usize> = table_names(text).collect();
    let mut findings = Vec::new();
    for name in taken(manifest) {
        if told.remove(name).is_none() {
            let what = format!("`{name}` has no line");
            let instead = "say what it is for, why it is not ours, and its licence";
            findings.push(Finding::new(DEPENDENCIES, 1, rule, what, instead));
        }
    }
    for (name, number) in told {
        let what = format!("`{name}` is not in [workspace.dependencies]");
        findings.push(Finding::new(DEPENDENCIES, number, rule, what, "remove the line"));
    }
    findings
}

/// Names in `[workspace.dependencies]` that are not paths of ours.
fn taken(manifest: &str) -> impl Iterator<Item = &str> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#') && !line.contains("path ="))
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.trim()))
}

/// The first column of every table row that begins with a name in backticks, with its line.
pub(super) fn table_names(text: &str) -> impl Iterator<Item = (&str, usize)> {
    outside_fences(text).filter_map(|(number, line)| {
        let name = line.trim().strip_prefix('|')?.trim_start().strip_prefix('`')?;
        Some((name.split('`').next()?, number))
    })
}

pub(super) fn markdown_is_whole(tree: &Tree) -> Vec<Finding> {
    let rule = "markdown";
    let mut findings = Vec::new();
    for (path, text) in tree.markdown() {
        let titles = outside_fences(text).filter(|(_, line)| line.starts_with("# ")).count();
        if titles != 1 {
            let what = format!("{titles} titles");
            findings.push(Finding::new(path, 1, rule, what, "have exactly one `# …`"));
        }
        for link in links(text) {
            let target = link.split(['#', ' ']).next().unwrap_or_default();
            let elsewhere =
                target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            if !elsewhere && !resolve(path, target).is_some_and(|file| tree.has(&file)) {
                let what = format!("link to `{target}` leads nowhere");
                let line = line_of(text, &format!("({link}"));
                findings.push(Finding::new(path, line, rule, what, "correct it"));
            }
        }
    }
    findings
}

/// What stands in the brackets of `[…](…)`, code left out.
fn links(text: &str) -> impl Iterator<Item = &str> {
    outside_fences(text).flat_map(|(_, line)| {
        // Every second piece between backticks is code.
        line.split('`').step_by(2).flat_map(|prose| {
            prose.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
        })
    })
}

/// `target` as seen from the file `path`; `None` above the root.
fn resolve(path: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Lines that are not part of a fenced block.
fn outside_fences(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    lines(text).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::example::{places, tree};

    #[test]
    fn each_member_has_a_heading_and_each_heading_a_member() {
        let good = "# The house\n## Floors\n### `a`: the first\n### xtask, apart\n";
        assert_eq!(architecture_names_each_member(&tree(&[(ARCHITECTURE, good)])), []);
        let bad = "# The house\n### `a`\n### `b`\n";
        let findings = architecture_names_each_member(&tree(&[(ARCHITECTURE, bad)]));
        assert_eq!(places(&findings), [format!("{ARCHITECTURE}:1"), format!("{ARCHITECTURE}:3")]);
        assert_eq!(architecture_names_each_member(&tree(&[])).len(), 1);
    }

    #[test]
    fn dependencies_and_their_lines_match_both_ways() {
        let manifest = "[workspace.dependencies]\n# ours\na = { path = \"a\" }\nserde = \"1\"\n[profile.dev]\nx = 1\n";
        let judge = |text| {
            each_dependency_has_its_line(&tree(&[("Cargo.toml", manifest), (DEPENDENCIES, text)]))
        };
        assert_eq!(judge("| name | for |\n|---|---|\n| `serde` | text |\n"), []);
        assert_eq!(judge("| name |\n").len(), 1);
        assert_eq!(judge("| `serde` | |\n| `rayon` | |\n").len(), 1);
    }

    #[test]
    fn markdown_wants_one_title_and_links_that_lead_somewhere() {
        let good = "# T\n[a](b.md#x) [w](https://w) `[c](no.md)` [s](#t) [d](../docs/)\n```\n# no title\n[x](no.md)\n```\n";
        assert_eq!(markdown_is_whole(&tree(&[("docs/a.md", good), ("docs/b.md", "# B\n")])), []);
        let broken = tree(&[("docs/a.md", "# T\n\n[a](../b.md)\n"), ("docs/b.md", "# B\n")]);
        assert_eq!(places(&markdown_is_whole(&broken)), ["docs/a.md:3"]);
        assert_eq!(markdown_is_whole(&tree(&[("a.md", "# A\n# B\n")])).len(), 1);
        assert_eq!(markdown_is_whole(&tree(&[("a.md", "text\n")])).len(), 1);
    }
}
