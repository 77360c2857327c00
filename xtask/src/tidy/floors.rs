//! Who may import whom, and what each manifest must inherit. Reads floors from `[package.metadata.neurograph]`; knows
//! no crate by name but the facade, `benches` and `xtask`.

use super::{Finding, Tree, tree::line_of};
use crate::workspace::Package;

/// The only composer, and the only one of ours that floor 2 may import.
const FACADE: &str = "neurograph";
/// Measures each crate alone, so it may reach past the facade.
const BENCHES: &str = "benches";
/// Stands apart from the floors.
const XTASK: &str = "xtask";

/// Async runtimes, HTTP and command lines: a floor-0 crate with one of them is no longer useful alone.
const NOT_ON_FLOOR_0: &[&str] = &[
    "actix-web",
    "argh",
    "async-std",
    "axum",
    "clap",
    "hyper",
    "hyper-util",
    "lexopt",
    "pico-args",
    "reqwest",
    "rocket",
    "smol",
    "structopt",
    "tokio",
    "tonic",
    "tower",
    "tower-http",
    "ureq",
    "warp",
];

pub(super) fn arrows_point_down(tree: &Tree) -> Vec<Finding> {
    let rule = "floors";
    let mut findings = Vec::new();
    for package in &tree.workspace.packages {
        let mut find = |needle: &str, what: String, instead: &str| {
            findings.push(in_manifest(tree, package, needle, rule, what, instead));
        };
        if package.floor.is_none() && package.name != XTASK {
            let what = format!("`{}` declares no floor", package.name);
            find("[package]", what, "add `[package.metadata.neurograph] floor = …`");
        }
        for name in &package.dependencies {
            let Some(target) = tree.workspace.package(name) else { continue };
            if *name == package.name {
                continue; // its tests ask for a feature of their own crate
            }
            if package.name == XTASK {
                let what = format!("`xtask` imports `{name}`");
                find(name, what, "start its program or read its sources instead");
            } else if target.floor >= package.floor {
                let what = format!("`{}` imports `{name}`, which is not below it", package.name);
                find(name, what, "let the floor above compose the two");
            } else if package.floor == Some(2) && package.name != BENCHES && name != FACADE {
                let what = format!("`{}` imports `{name}` past the facade", package.name);
                find(name, what, "use the facade's re-export");
            }
        }
    }
    findings
}

pub(super) fn floor_0_stays_plain(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in tree.workspace.packages.iter().filter(|package| package.floor == Some(0)) {
        for name in package.dependencies.iter().filter(|d| NOT_ON_FLOOR_0.contains(&d.as_str())) {
            let what = format!("floor 0 depends on `{name}`");
            let instead = "keep runtimes, HTTP and command lines in floor 2";
            findings.push(in_manifest(tree, package, name, "plain-floor-0", what, instead));
        }
    }
    findings
}

pub(super) fn members_inherit(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &tree.workspace.packages {
        let manifest = tree.text(&format!("{}/Cargo.toml", package.dir)).unwrap_or_default();
        let plain: String = manifest.chars().filter(|c| !matches!(c, ' ' | '\t')).collect();
        for (wanted, line) in [
            ("edition.workspace=true", "`edition.workspace = true`"),
            ("license.workspace=true", "`license.workspace = true`"),
            ("[lints]\nworkspace=true", "`[lints] workspace = true`"),
        ] {
            if !plain.contains(wanted) {
                let what = format!("`{}` does not inherit {line}", package.name);
                let instead = "take it from the workspace";
                findings.push(in_manifest(tree, package, "[package]", "inherit", what, instead));
            }
        }
    }
    findings
}

fn in_manifest(
    tree: &Tree,
    package: &Package,
    needle: &str,
    rule: &'static str,
    what: String,
    instead: &str,
) -> Finding {
    let path = format!("{}/Cargo.toml", package.dir);
    let line = tree.text(&path).map_or(1, |text| line_of(text, needle));
    Finding::new(&path, line, rule, what, instead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::example::{member, tree};

    fn house(edges: &[(&str, &str)]) -> Tree {
        let mut tree = tree(&[]);
        let floors = [("ng-a", Some(0)), ("ng-b", Some(0)), (FACADE, Some(1)), ("p", Some(2))];
        let others = [(BENCHES, Some(2)), (XTASK, None)];
        tree.workspace.packages = floors
            .into_iter()
            .chain(others)
            .map(|(name, floor)| {
                let dependencies =
                    edges.iter().filter(|e| e.0 == name).map(|e| e.1.into()).collect();
                Package { floor, dependencies, ..member(name, name) }
            })
            .collect();
        tree
    }

    #[test]
    fn arrows_down_are_good_and_benches_may_reach_past_the_facade() {
        let edges = [(FACADE, "ng-a"), ("p", FACADE), (BENCHES, "ng-a"), ("ng-a", "serde")];
        assert_eq!(arrows_point_down(&house(&edges)), []);
    }

    #[test]
    fn arrows_up_sideways_past_the_facade_or_from_xtask_are_found() {
        for edge in
            [("ng-a", "ng-b"), ("ng-a", FACADE), ("p", "ng-a"), ("p", BENCHES), (XTASK, "ng-a")]
        {
            assert_eq!(arrows_point_down(&house(&[edge])).len(), 1, "{edge:?}");
        }
    }

    #[test]
    fn a_member_without_a_floor_is_found_but_xtask_needs_none() {
        let mut house = house(&[]);
        house.workspace.packages[0].floor = None;
        assert_eq!(arrows_point_down(&house).len(), 1);
    }

    #[test]
    fn tokio_is_found_on_floor_0_and_free_above() {
        assert_eq!(floor_0_stays_plain(&house(&[("ng-a", "tokio")])).len(), 1);
        assert_eq!(floor_0_stays_plain(&house(&[("p", "tokio"), ("ng-a", "bytes")])), []);
    }

    #[test]
    fn a_manifest_that_names_its_own_edition_is_found() {
        let good = "[package]\nedition.workspace = true\nlicense.workspace = true\n[lints]\nworkspace = true\n";
        let bad = good.replace("edition.workspace = true", "edition = \"2024\"");
        let tree_of = |text| tree(&[("crates/a/Cargo.toml", text), ("xtask/Cargo.toml", good)]);
        assert_eq!(members_inherit(&tree_of(good)), []);
        assert_eq!(members_inherit(&tree_of(&bad)).len(), 1);
    }
}
