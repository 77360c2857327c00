//! Breakages in the code and the rows of the crate's `mutants.toml` are the same set: one without a row is never tried,
//! and a row without code would survive.

use std::collections::BTreeMap;

use super::{
    Finding, Tree,
    tree::{line_of, lines},
};
use crate::mutants;

const RULE: &str = "mutants";

pub(super) fn each_has_its_row(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &tree.workspace.packages {
        let file = format!("{}/mutants.toml", package.dir);
        let text = tree.text(&file).unwrap_or_default();
        let rows = match mutants::parse(&package.name, &package.dir, text) {
            Ok(rows) => rows,
            Err(reason) => {
                findings.push(Finding::new(&file, 1, RULE, reason, "give each row its four words"));
                continue;
            }
        };
        let mut rows: BTreeMap<_, _> = rows.into_iter().map(|row| (row.name, false)).collect();
        for (_, path, source) in tree.sources().filter(|(owner, ..)| owner.dir == package.dir) {
            for (number, line) in lines(source) {
                for name in line.split(&format!("{RULE}::on(\"")).skip(1) {
                    let name = name.split('"').next().unwrap_or_default();
                    match rows.get_mut(name) {
                        Some(used) => *used = true,
                        None if package.name == "xtask" => {}
                        None => {
                            let what = format!("`{name}` has no row");
                            let instead = format!("add it to {file}, with the test that goes red");
                            findings.push(Finding::new(path, number, RULE, what, instead));
                        }
                    }
                }
            }
        }
        for (name, _) in rows.iter().filter(|(_, used)| !**used) {
            let what = format!("no code asks for `{name}`");
            findings.push(Finding::new(&file, line_of(text, name), RULE, what, "remove the row"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::example::tree;

    #[test]
    fn code_and_rows_must_name_the_same_breakages() {
        let row = "[[mutant]]\nname = \"a-b\"\nbreaks = \"x\"\ncheck = \"lib\"\ntest = \"t\"\n";
        let code = "fn f() {\n    if mutants::on(\"a-b\") {}\n}\n";
        let both = [("crates/a/mutants.toml", row), ("crates/a/src/x.rs", code)];
        assert_eq!(each_has_its_row(&tree(&both)), []);
        let alone = each_has_its_row(&tree(&both[..1]));
        assert_eq!((alone[0].line, alone[0].what.as_str()), (2, "no code asks for `a-b`"));
        let alone = each_has_its_row(&tree(&both[1..]));
        assert_eq!((alone[0].line, alone[0].what.as_str()), (2, "`a-b` has no row"));
        let broken = [("crates/a/mutants.toml", "[[mutant]]\n"), both[1]];
        assert_eq!(each_has_its_row(&tree(&broken))[0].what, "mutant 1 has no check");
    }
}
