//! Numbers that are printed and never fail: long functions, long files, `unsafe` per crate. One that jumps is a
//! question for a review. Function length is taken by indentation, so read it as ±1.

use std::collections::BTreeMap;

use super::{
    Tree,
    tree::{code, lines},
};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 1000;

pub(super) fn collect(tree: &Tree) -> Vec<String> {
    let mut notes = Vec::new();
    let mut unsafes: BTreeMap<&str, usize> = BTreeMap::new();
    for (owner, path, text) in tree.sources() {
        let length = text.lines().count();
        if length > FILE_LINES_MAX {
            notes.push(format!("{path}: {length} lines"));
        }
        for (line, name, length) in functions(text).filter(|f| f.2 > FUNCTION_LINES_MAX) {
            notes.push(format!("{path}:{line}: fn {name} has {length} lines"));
        }
        let sites = code(text).filter(|(_, line)| is_unsafe(line)).count();
        if sites > 0 {
            *unsafes.entry(&owner.name).or_default() += sites;
        }
    }
    notes.extend(unsafes.iter().map(|(name, sites)| format!("{name}: {sites} unsafe sites")));
    notes
}

fn is_unsafe(line: &str) -> bool {
    // A quote before it: a text about unsafe code, as below.
    ["unsafe {", "unsafe impl", "unsafe fn"]
        .iter()
        .any(|form| line.match_indices(form).any(|(at, _)| !line[..at].ends_with('"')))
}

/// First line, name and length of each function that ends in a brace of its own.
fn functions(text: &str) -> impl Iterator<Item = (usize, &str, usize)> {
    let all: Vec<&str> = text.lines().collect();
    lines(text).filter_map(move |(number, line)| {
        let indent = line.len() - line.trim_start().len();
        let (before, rest) = line.split_once("fn ")?;
        let words_only = before.chars().all(|c| c.is_alphanumeric() || " ()\"_".contains(c));
        if !words_only || line.ends_with('}') || line.ends_with(';') {
            return None;
        }
        let end = format!("{}}}", &line[..indent]);
        let length = all[number - 1..].iter().position(|line| *line == end)? + 1;
        Some((number, rest.split(['(', '<']).next()?, length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::example::tree;

    #[test]
    fn a_long_function_and_unsafe_are_noted_with_their_place() {
        let body = "        x();\n".repeat(FUNCTION_LINES_MAX);
        let text = format!(
            "impl A {{\n    pub(crate) fn long(&self) {{\n{body}    }}\n    fn short() {{\n        unsafe {{ x() }}\n    }}\n}}\n"
        );
        let notes = collect(&tree(&[("crates/a/src/x.rs", &text)]));
        let wanted = ["crates/a/src/x.rs:2: fn long has 72 lines", "a: 1 unsafe sites"];
        assert_eq!(notes, wanted);
    }
}
