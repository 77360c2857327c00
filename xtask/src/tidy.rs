//! `cargo xtask tidy`: the layering and style rules that a program can judge. Each rule is a pure function over a tree
//! held in memory and collects all its findings; nothing here judges taste, and nothing but `--bless` writes.

mod docs;
mod floors;
mod hashes;
mod metrics;
mod mutants;
mod notes;
mod packages;
mod rooms;
mod sources;
mod tree;

use std::fmt;

use serde_json::json;

use crate::{exit::Exit, workspace};

pub(crate) use tree::Tree;

/// One broken rule at one place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    file: String,
    line: usize,
    rule: &'static str,
    what: String,
    instead: String,
}

impl Finding {
    fn new(
        file: &str,
        line: usize,
        rule: &'static str,
        what: impl Into<String>,
        instead: impl Into<String>,
    ) -> Finding {
        Finding { file: file.into(), line, rule, what: what.into(), instead: instead.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { file, line, rule, what, instead } = self;
        write!(f, "{file}:{line}: {rule}: {what}, {instead}")
    }
}

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: &[Rule] = &[
    floors::arrows_point_down,
    floors::floor_0_stays_plain,
    floors::members_inherit,
    packages::packages_stand_alone,
    rooms::imports_between_rooms_go_one_way,
    docs::architecture_names_each_member,
    sources::files_begin_with_a_head,
    sources::no_drawers,
    sources::sync_is_the_only_door_to_threads,
    sources::format_is_the_only_file_with_bytes,
    sources::config_fields_name_their_default,
    sources::nothing_on_the_stack_is_aligned_to_a_page,
    sources::no_orphans,
    sources::nothing_unfinished,
    metrics::names_are_the_same_in_code_and_docs,
    mutants::each_has_its_row,
    hashes::format_has_not_changed_alone,
    docs::markdown_is_whole,
    docs::each_dependency_has_its_line,
];

/// A place where a rule does not hold, and why that is right. One that is no longer needed is a finding itself.
struct Exception {
    rule: &'static str,
    /// A file, or a folder with its slash.
    place: &'static str,
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        rule: "plain-floor-0",
        place: "crates/ng-trace/Cargo.toml",
        reason: "an example samples an axum handler: dev-dependencies only",
    },
    Exception {
        rule: sources::UNFINISHED,
        place: "xtask/src/tidy/sources.rs",
        reason: "the rule names the words it looks for",
    },
    Exception {
        rule: sources::BYTES,
        place: "xtask/src/tidy/sources.rs",
        reason: "the rule names the words it looks for",
    },
];

fn judge(tree: &Tree) -> Vec<Finding> {
    except(RULES.iter().flat_map(|rule| rule(tree)).collect(), EXCEPTIONS)
}

fn except(mut findings: Vec<Finding>, exceptions: &[Exception]) -> Vec<Finding> {
    for exception in exceptions {
        let before = findings.len();
        findings.retain(|f| !(f.rule == exception.rule && f.file.starts_with(exception.place)));
        if findings.len() == before {
            let what = format!("{} has an exception that nothing needs", exception.rule);
            let instead = format!("remove its row from EXCEPTIONS ({})", exception.reason);
            findings.push(Finding::new(exception.place, 1, "exceptions", what, instead));
        }
    }
    findings.sort();
    findings
}

/// The command. `bless` first stores the hashes of the byte formats.
pub(crate) fn run(bless: bool, as_json: bool) -> Exit {
    let root = workspace::root();
    let tree = match Tree::load(&root) {
        Ok(tree) => tree,
        Err(reason) => {
            eprintln!("xtask tidy: {reason}");
            return Exit::Environment;
        }
    };
    if bless {
        return match hashes::bless(&tree, &root) {
            Ok(stored) => {
                println!("docs/FORMAT.md: {stored} hashes stored");
                Exit::Good
            }
            Err(reason) => {
                eprintln!("xtask tidy: {reason}");
                Exit::Failed
            }
        };
    }
    let findings = judge(&tree);
    print(&findings, &notes::collect(&tree), as_json);
    if findings.is_empty() { Exit::Good } else { Exit::Failed }
}

fn print(findings: &[Finding], notes: &[String], as_json: bool) {
    if as_json {
        let rows: Vec<_> = findings
            .iter()
            .map(|Finding { file, line, rule, what, instead }| {
                json!({"file": file, "line": line, "rule": rule, "what": what, "instead": instead})
            })
            .collect();
        println!("{:#}", json!({"findings": rows, "notes": notes}));
        return;
    }
    for finding in findings {
        println!("{finding}");
    }
    for note in notes {
        println!("note: {note}");
    }
    println!("tidy: {} rules, {} findings", RULES.len(), findings.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The real tree, so that `cargo test` fails on an untidy one.
    #[test]
    fn this_tree_is_tidy() {
        let findings = judge(&Tree::load(&workspace::root()).unwrap());
        let lines: Vec<_> = findings.iter().map(Finding::to_string).collect();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }

    #[test]
    fn a_finding_reads_as_place_rule_what_and_instead() {
        let finding = Finding::new("a.rs", 3, "sync", "`std::sync` here", "use crate::sync");
        assert_eq!(finding.to_string(), "a.rs:3: sync: `std::sync` here, use crate::sync");
    }

    #[test]
    fn an_exception_silences_its_place_only_and_an_unneeded_one_is_told() {
        let row = |place| Exception { rule: "sync", place, reason: "r" };
        let finding = |file| Finding::new(file, 1, "sync", "w", "i");
        let left = except(vec![finding("a/x.rs"), finding("b/x.rs")], &[row("a/")]);
        assert_eq!(left, [finding("b/x.rs")]);
        let left = except(vec![], &[row("a/")]);
        assert_eq!((left.len(), left[0].rule), (1, "exceptions"));
    }
}
