//! Metric names: given in the facade's `export.rs` alone, well formed, and the same set as in OBSERVABILITY.md. Programs
//! on floor 2 may spell a documented one, since they read the page as an operator would. Reads `name: "…"` fields of
//! the table in `export.rs`, without the prefix that the registry adds.

use std::collections::BTreeMap;

use super::{
    Finding, Tree, docs,
    tree::{lines, product_code},
};

const EXPORT: &str = "crates/neurograph/src/watch/export.rs";
const OBSERVABILITY: &str = "docs/OBSERVABILITY.md";
const PREFIX: &str = "neurograph_";
const RULE: &str = "metric-names";

pub(super) fn names_are_the_same_in_code_and_docs(tree: &Tree) -> Vec<Finding> {
    let document = tree.text(OBSERVABILITY).unwrap_or_default();
    let mut told: BTreeMap<String, usize> = docs::table_names(document)
        .map(|(name, line)| (name.split('{').next().unwrap_or(name).to_owned(), line))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    let mut findings = spelled_elsewhere(tree, &told);
    let Some(export) = tree.text(EXPORT) else { return findings };
    for (name, line) in exported(export) {
        if !well_formed(name) {
            let what = format!("`{name}` is no metric name");
            findings.push(Finding::new(EXPORT, line, RULE, what, "use a-z, 0-9 and single _"));
        }
        if told.remove(&format!("{PREFIX}{name}")).is_none() {
            let what = format!("`{PREFIX}{name}` is not in {OBSERVABILITY}");
            findings.push(Finding::new(EXPORT, line, RULE, what, "add its row there"));
        }
    }
    for (name, line) in told {
        let what = format!("`{name}` is not in {EXPORT}");
        findings.push(Finding::new(OBSERVABILITY, line, RULE, what, "remove its row"));
    }
    findings
}

fn spelled_elsewhere(tree: &Tree, told: &BTreeMap<String, usize>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (owner, path, text) in tree.sources().filter(|(_, path, _)| *path != EXPORT) {
        let reads_pages = owner.floor == Some(2);
        for (number, line) in product_code(text) {
            for name in spelled(line).filter(|name| !(reads_pages && told.contains_key(*name))) {
                let what = format!("spells `{name}`");
                let instead = format!("give names in {EXPORT} and {OBSERVABILITY} only");
                findings.push(Finding::new(path, number, RULE, what, instead));
            }
        }
    }
    findings
}

/// Literals that begin with the prefix and go on as a name, up to what ends the name.
fn spelled(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).filter(|rest| rest.starts_with(PREFIX)).filter_map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
        let name = &rest[..end.unwrap_or(rest.len())];
        (name.len() > PREFIX.len()).then_some(name)
    })
}

/// The `name: "…"` fields with their lines.
fn exported(text: &str) -> impl Iterator<Item = (&str, usize)> {
    lines(text).flat_map(|(number, line)| {
        let code = line.split("//").next().unwrap_or(line);
        code.split("name: \"")
            .skip(1)
            .filter_map(move |rest| rest.split_once('"').map(|(name, _)| (name, number)))
    })
}

fn well_formed(name: &str) -> bool {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    letters && begins && !name.contains("__") && !name.ends_with('_') && !name.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        tidy::tree::example::{member, places, tree},
        workspace::Package,
    };

    fn judge(export: &str, document: &str, (path, other): (&str, &str)) -> Vec<String> {
        let mut tree = tree(&[(EXPORT, export), (OBSERVABILITY, document), (path, other)]);
        tree.workspace.packages.push(member("neurograph", "crates/neurograph"));
        let program = Package { floor: Some(2), ..member("p", "crates/p") };
        tree.workspace.packages.push(program);
        places(&names_are_the_same_in_code_and_docs(&tree))
    }

    const OTHER: &str = "crates/neurograph/src/x.rs";
    const ROWS: &str =
        "| `neurograph_tokens_total` | x |\n| `neurograph_arena_bytes{state}` | x |\n";
    const TABLE: &str = "Metric { name: \"tokens_total\" },\nMetric { name: \"arena_bytes\" },\n";

    #[test]
    fn one_set_in_code_and_docs_is_good() {
        assert_eq!(judge(TABLE, ROWS, (OTHER, "let dir = \"neurograph-stress\";\n")), [""; 0]);
    }

    #[test]
    fn a_name_missing_on_either_side_is_found_where_it_stands() {
        let one = "Metric { name: \"tokens_total\" },\n";
        assert_eq!(judge(one, ROWS, (OTHER, "")), [format!("{OBSERVABILITY}:2")]);
        assert_eq!(
            judge(TABLE, "| `neurograph_tokens_total` |\n", (OTHER, "")),
            [format!("{EXPORT}:2")]
        );
    }

    #[test]
    fn a_name_spelled_elsewhere_or_badly_formed_is_found() {
        let line = "\nlet name = \"neurograph_tokens_total\";\n";
        assert_eq!(judge(TABLE, ROWS, (OTHER, line)), [format!("{OTHER}:2")]);
        for bad in ["Tokens", "a__b", "a_", "_a", "neurograph_a", "a-b"] {
            assert!(!well_formed(bad), "{bad}");
        }
        assert!(well_formed("wal_sync_duration_seconds"));
    }

    #[test]
    fn a_program_may_read_a_documented_metric_and_no_other() {
        let program = "crates/p/src/main.rs";
        let reads = "value(page, \"neurograph_tokens_total\")\n";
        assert_eq!(judge(TABLE, ROWS, (program, reads)), [""; 0]);
        let invents = "value(page, \"neurograph_tokens_totl\")\n";
        assert_eq!(judge(TABLE, ROWS, (program, invents)), [format!("{program}:1")]);
    }
}
