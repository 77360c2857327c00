//! Within a crate, imports between rooms go one way. A room is a module of `src/` that has a folder: its contents page and
//! all files below. A file that stands alone in `src/` is the front (handles, settings, words, refusals): of no room, and
//! free to import any and to be imported by any. Tests and models are free too.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Tree, tree::product_code};

/// The crates laid out in rooms so far.
const CRATES: &[&str] = &["neurograph", "ng-core", "ng-wal"];

pub(super) fn imports_between_rooms_go_one_way(tree: &Tree) -> Vec<Finding> {
    CRATES.iter().flat_map(|name| circles(&imports(tree, name))).collect()
}

/// Which room imports which, and the first place that does.
type Imports<'t> = BTreeMap<(&'t str, &'t str), (&'t str, usize)>;

fn imports<'t>(tree: &'t Tree, name: &str) -> Imports<'t> {
    let files: Vec<_> = tree
        .sources()
        .filter(|(owner, ..)| owner.name == name)
        .map(|(owner, path, text)| (path, &path[owner.dir.len() + "/src/".len()..], text))
        .collect();
    let rooms: BTreeSet<&str> =
        files.iter().filter_map(|(_, inside, _)| Some(inside.split_once('/')?.0)).collect();
    // What stands at the crate's root, and from which room it comes.
    let front = files.iter().find(|(_, inside, _)| *inside == "lib.rs");
    let handed_out: BTreeMap<&str, &str> =
        front.iter().flat_map(|(_, _, text)| re_exports(text)).collect();
    let mut imports = Imports::new();
    for (path, inside, text) in files {
        let room = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        if !rooms.contains(room) || is_test(inside) {
            continue;
        }
        for (line, first) in named(text, inside.matches('/').count() + 1) {
            let to = handed_out.get(first).copied().unwrap_or(first);
            if let Some(to) = rooms.get(to).filter(|to| **to != room) {
                imports.entry((room, to)).or_insert((path, line));
            }
        }
    }
    imports
}

fn is_test(inside: &str) -> bool {
    let file = inside.rsplit('/').next().unwrap_or_default();
    file.ends_with("_tests.rs") || file.starts_with("loom_") || file.starts_with("shuttle_")
}

/// The names that `pub use` brings to the crate's root, with the module that each comes from.
fn re_exports(front: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for statement in front.split("pub use crate::").skip(1) {
        let tree = statement.split(';').next().unwrap_or_default();
        for part in parts(tree) {
            let module = word(part);
            let names = part.split(|c: char| !is_word(c)).filter(|name| *name != module);
            found.extend(names.filter(|name| !name.is_empty()).map(|name| (name, module)));
        }
    }
    found
}

/// The first names of all paths from the crate's root, as `crate::` or as so many `super::` as the file is `deep`, with
/// their lines. Statements over several lines count where they begin.
fn named(text: &str, deep: usize) -> Vec<(usize, &str)> {
    let roots = ["crate::".to_string(), "super::".repeat(deep)];
    let mut found = Vec::new();
    let starts: BTreeMap<usize, usize> = product_code(text)
        .map(|(number, line)| (line.as_ptr() as usize - text.as_ptr() as usize, number))
        .collect();
    for (start, number) in starts {
        let line = text[start..].lines().next().unwrap_or_default();
        for root in &roots {
            for (at, _) in line.match_indices(root.as_str()) {
                let before = &line[..at];
                if before.ends_with(is_word) || before.ends_with("super::") {
                    continue;
                }
                let rest = &text[start + at + root.len()..];
                found.extend(parts(rest).into_iter().map(|part| (number, word(part))));
            }
        }
    }
    found
}

/// `{a::b, c}` as `a::b` and `c`; any other text as it is.
fn parts(tree: &str) -> Vec<&str> {
    let Some(inner) = tree.trim_start().strip_prefix('{') else { return vec![tree] };
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                parts.push(inner[from..at].trim());
                from = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    parts
}

fn word(path: &str) -> &str {
    path.split(|c: char| !is_word(c)).next().unwrap_or_default()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Each import that leads back to where it came from.
fn circles(imports: &Imports) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ((from, to), (path, line)) in imports {
        if let Some(way) = way_back(imports, to, from) {
            let what = format!("room `{from}` imports `{to}`, which leads back: {way}");
            let instead = "move what both need below them, or to the front";
            findings.push(Finding::new(path, *line, "rooms", what, instead));
        }
    }
    findings
}

/// The shortest way from one room to another, by their imports.
fn way_back(imports: &Imports, from: &str, to: &str) -> Option<String> {
    let mut ways = vec![vec![from]];
    let mut seen = BTreeSet::from([from]);
    while !ways.is_empty() {
        if let Some(way) = ways.iter().find(|way| way.last() == Some(&to)) {
            return Some(way.join(" -> "));
        }
        let mut longer = Vec::new();
        for way in &ways {
            let next = imports.keys().filter(|(a, _)| way.last() == Some(a));
            for (_, b) in next {
                if seen.insert(b) {
                    longer.push([way.as_slice(), &[b]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::example::{member, places, tree};

    /// A crate that stands in rooms, of these files below its `src`.
    fn crate_of(files: &[(&str, &str)]) -> Tree {
        let files: Vec<_> =
            files.iter().map(|(file, text)| (format!("crates/w/src/{file}"), *text)).collect();
        let files: Vec<_> = files.iter().map(|(file, text)| (file.as_str(), *text)).collect();
        let mut tree = tree(&files);
        tree.workspace.packages.push(member("ng-wal", "crates/w"));
        tree
    }

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        places(&imports_between_rooms_go_one_way(&crate_of(files)))
    }

    #[test]
    fn imports_that_go_one_way_are_fine_and_the_front_is_free() {
        let files = [
            ("lib.rs", "pub use crate::up::U;\n"),
            ("front.rs", "use crate::{down::D, up::U};\n"),
            ("up/a.rs", "use crate::front::F;\nuse crate::down::D;\n"),
            ("down/b.rs", "//! [`crate::up`]\nuse crate::front::F;\nuse crate::down::D;\n"),
            ("down/b_tests.rs", "use crate::up::U;\n"),
            ("down/loom_b.rs", "use crate::up::U;\n"),
            ("down/c.rs", "x();\n#[cfg(test)]\nmod tests {\n    use crate::up::U;\n}\n"),
        ];
        assert_eq!(found(&files), [""; 0]);
    }

    #[test]
    fn each_import_of_a_circle_is_found_where_it_stands() {
        let up = ("up/a.rs", "use crate::down::D;\n");
        let backs = [
            "\nuse crate::up::U;\n",
            "\nuse crate::{\n    down::D, up::{U, V},\n};\n",
            "\nfn f() { crate::up::f() }\n",
            "\nuse super::super::up::U;\n",
            "\nuse crate::U;\n",
        ];
        for back in backs {
            let lib = ("lib.rs", "pub use crate::{down::D, up::{a::{U}, V}};\n");
            let wanted = ["crates/w/src/down/b.rs:2", "crates/w/src/up/a.rs:1"];
            assert_eq!(found(&[lib, up, ("down/b.rs", back)]), wanted, "{back}");
        }
        let contents = ("down.rs", "use super::up::U;\n");
        assert_eq!(found(&[up, contents, ("down/b.rs", "")]).len(), 2);
    }

    #[test]
    fn a_circle_through_a_third_room_names_its_way() {
        let files = [
            ("a/x.rs", "use crate::b::B;\n"),
            ("b/x.rs", "use crate::c::C;\n"),
            ("c/x.rs", "use crate::a::A;\n"),
            ("d/x.rs", "use crate::a::A;\n"),
        ];
        let findings = imports_between_rooms_go_one_way(&crate_of(&files));
        assert_eq!(findings.len(), 3);
        assert!(findings[0].to_string().contains("leads back: b -> c -> a"), "{}", findings[0]);
    }
}
