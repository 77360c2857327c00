//! What a package must have in it when it leaves the repository, and what it must not. Says nothing of members with
//! `publish = false`.

use super::{Finding, Tree};

const LICENCES: &[&str] = &["LICENSE-MIT", "LICENSE-APACHE"];
const RULE: &str = "packages";

pub(super) fn packages_stand_alone(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &tree.workspace.packages {
        let manifest = format!("{}/Cargo.toml", package.dir);
        let text = tree.text(&manifest).unwrap_or_default();
        let plain: String = text.chars().filter(|c| !matches!(c, ' ' | '\t')).collect();
        if plain.contains("publish=false") {
            continue;
        }
        for licence in LICENCES {
            let copy = format!("{}/{licence}", package.dir);
            if tree.text(&copy).is_none() || tree.text(&copy) != tree.text(licence) {
                let what = "is not the licence's text";
                let instead =
                    format!("copy {licence} of the root: a package has only its own files");
                findings.push(Finding::new(&copy, 1, RULE, what, instead));
            }
        }
        for wanted in ["repository.workspace=true", "exclude=[\"/tests/\""] {
            if !plain.contains(wanted) {
                let what = format!("`{}` has no `{wanted}`", package.name);
                let instead = "say where it comes from, and leave the tests' data at home";
                findings.push(Finding::new(&manifest, 1, RULE, what, instead));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::example::{places, tree};

    const GOOD: &str = "repository.workspace = true\nexclude = [\"/tests/\", \"/x.toml\"]\n";
    const NOT_PUBLISHED: (&str, &str) = ("xtask/Cargo.toml", "publish = false\n");

    #[test]
    fn a_member_with_both_licence_texts_its_address_and_no_tests_is_good() {
        let good = tree(&[
            NOT_PUBLISHED,
            ("crates/a/Cargo.toml", GOOD),
            ("LICENSE-MIT", "mit"),
            ("LICENSE-APACHE", "apache"),
            ("crates/a/LICENSE-MIT", "mit"),
            ("crates/a/LICENSE-APACHE", "apache"),
        ]);
        assert_eq!(packages_stand_alone(&good), []);
    }

    #[test]
    fn a_licence_that_is_missing_or_another_text_is_found_and_so_is_a_bare_manifest() {
        let bad = tree(&[
            NOT_PUBLISHED,
            ("crates/a/Cargo.toml", "exclude = []\n"),
            ("LICENSE-MIT", "mit"),
            ("LICENSE-APACHE", "apache"),
            ("crates/a/LICENSE-MIT", "no mit"),
        ]);
        let expected = [
            "crates/a/LICENSE-MIT:1",
            "crates/a/LICENSE-APACHE:1",
            "crates/a/Cargo.toml:1",
            "crates/a/Cargo.toml:1",
        ];
        assert_eq!(places(&packages_stand_alone(&bad)), expected);
    }
}
