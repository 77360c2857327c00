//! Rules on the Rust files: heads, names, the two doors (`sync.rs`, `format.rs`), config docs, orphans, leftovers.
//! Works on lines, not on a syntax tree: what a line cannot show is left to clippy and to people.

use super::{
    Finding, Tree,
    tree::{code, line_of, lines, product_code},
};

pub(super) const BYTES: &str = "bytes";
pub(super) const UNFINISHED: &str = "unfinished";

pub(super) fn files_begin_with_a_head(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (owner, path, text) in tree.sources() {
        if !text.starts_with("//!") {
            let instead = "begin with `//! …`: what it is, then what a reader can't guess";
            findings.push(Finding::new(path, 1, "head", "no head comment", instead));
        }
        let is_front = owner.has_library && path[owner.dir.len()..] == *"/src/lib.rs";
        let mut head = text.lines().take_while(|line| line.starts_with("//!"));
        if is_front && !head.any(|line| line.contains("Must not know:")) {
            let instead = "say in the head what this crate may not know";
            findings.push(Finding::new(path, 1, "head", "no `Must not know:`", instead));
        }
    }
    findings
}

pub(super) fn no_drawers(tree: &Tree) -> Vec<Finding> {
    const DRAWERS: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc"];
    let mut findings = Vec::new();
    let instead = "name it for its one topic";
    for (owner, path, text) in tree.sources() {
        let inside = path[owner.dir.len() + "/src/".len()..].trim_end_matches(".rs");
        if inside.ends_with("mod") && path.ends_with("/mod.rs") {
            let instead = "put `x.rs` beside the folder `x/`";
            findings.push(Finding::new(path, 1, "drawers", "a `mod.rs`", instead));
        }
        if let Some(word) = inside.split('/').find(|word| DRAWERS.contains(word)) {
            findings.push(Finding::new(path, 1, "drawers", format!("called `{word}`"), instead));
        }
        for (number, line) in code(text) {
            if let Some(name) = inline_module(line).filter(|name| DRAWERS.contains(name)) {
                let what = format!("module `{name}`");
                findings.push(Finding::new(path, number, "drawers", what, instead));
            }
        }
    }
    findings
}

/// `x` of a line that begins `mod x {`, whatever its visibility.
fn inline_module(line: &str) -> Option<&str> {
    module(line).and_then(|rest| rest.strip_suffix('{')).map(str::trim)
}

/// What follows `mod ` on a line that declares a module, whatever its visibility.
fn module(line: &str) -> Option<&str> {
    let line = line.trim();
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1,
        Some(rest) => rest,
        None => line,
    };
    line.trim_start().strip_prefix("mod ").map(str::trim)
}

pub(super) fn sync_is_the_only_door_to_threads(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (owner, path, text) in tree.sources() {
        let door = format!("{}/src/sync.rs", owner.dir);
        let file = path.rsplit('/').next().unwrap_or_default();
        if tree.has(&door)
            && path != door
            && !file.starts_with("loom_")
            && !file.starts_with("shuttle_")
        {
            findings.extend(threads_named(path, text));
        }
    }
    findings
}

fn threads_named(path: &str, text: &str) -> Vec<Finding> {
    const NAMES: &[&str] = &["std::sync", "core::sync", "std::thread", "loom::", "shuttle::"];
    let find = |number, name: &str| {
        Finding::new(path, number, "sync", format!("names `{name}`"), "use crate::sync")
    };
    let mut findings = Vec::new();
    // `use std::{fs, sync::Arc}` says the same over several lines.
    let mut group: Option<(usize, String)> = None;
    for (number, line) in product_code(text) {
        for name in NAMES.iter().filter(|name| line.contains(*name)) {
            findings.push(find(number, name));
        }
        let line = line.trim();
        if line.contains("use std::{") || line.contains("use core::{") {
            group = Some((number, String::new()));
        }
        if let Some((start, statement)) = &mut group {
            statement.extend(line.chars().filter(|c| !c.is_whitespace()));
            if line.ends_with(';') {
                let names = ["{sync", ",sync", "{thread", ",thread"];
                if names.iter().any(|name| statement.contains(name)) {
                    findings.push(find(*start, "std::{sync, thread}"));
                }
                group = None;
            }
        }
    }
    findings
}

pub(super) fn format_is_the_only_file_with_bytes(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (owner, path, text) in tree.sources() {
        let is_door = path[owner.dir.len()..] == *format!("/src/{}", byte_door(&owner.name));
        findings.extend(bytes_named(path, text, is_door));
    }
    findings
}

/// The one file below a crate's `src` that may name bytes.
fn byte_door(crate_name: &str) -> &'static str {
    if crate_name == "ng-core" { "token/image.rs" } else { "format.rs" }
}

fn bytes_named(path: &str, text: &str, is_door: bool) -> Vec<Finding> {
    const FIXED: &[&str] = &["to_le_bytes", "from_le_bytes", "to_be_bytes", "from_be_bytes"];
    const NATIVE: &[&str] = &["to_ne_bytes", "from_ne_bytes"];
    let mut findings = Vec::new();
    for (number, line) in product_code(text) {
        for name in NATIVE.iter().filter(|name| line.contains(*name)) {
            let what = format!("`{name}`");
            let instead = "say the byte order: little-endian, in format.rs";
            findings.push(Finding::new(path, number, BYTES, what, instead));
        }
        for name in FIXED.iter().filter(|name| !is_door && line.contains(*name)) {
            let what = format!("`{name}` outside the file that knows the bytes");
            let instead = "speak structs here and move it to format.rs";
            findings.push(Finding::new(path, number, BYTES, what, instead));
        }
    }
    findings
}

/// A frame on the stack that is aligned to more than this takes a prologue of its own, and under some profiles it
/// gets none: the program dies. Unit: bytes; two cache lines.
const ALIGNMENT_MAX: u64 = 128;

pub(super) fn nothing_on_the_stack_is_aligned_to_a_page(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        for (number, line) in code(text) {
            if let Some(bytes) = alignment(line).filter(|bytes| *bytes > ALIGNMENT_MAX) {
                let what = format!("a type aligned to {bytes} bytes");
                let instead = "allocate, and align within the allocation";
                findings.push(Finding::new(path, number, "alignment", what, instead));
            }
        }
    }
    findings
}

/// The number in `#[repr(…align(n)…)]`; one that is no plain number counts as too large.
fn alignment(line: &str) -> Option<u64> {
    let (_, rest) = line.trim().strip_prefix("#[repr(")?.split_once("align(")?;
    Some(rest.split_once(')')?.0.trim().parse().unwrap_or(u64::MAX))
}

pub(super) fn config_fields_name_their_default(tree: &Tree) -> Vec<Finding> {
    tree.sources()
        .filter(|(_, path, _)| path.ends_with("/config.rs"))
        .flat_map(|(_, path, text)| fields_without_default(path, text))
        .collect()
}

fn fields_without_default(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut doc = String::new();
    let mut in_struct = false;
    for (number, line) in lines(text) {
        let line = line.trim();
        if line.starts_with("///") {
            doc.push_str(line);
            continue;
        }
        if line.starts_with("#[") {
            continue;
        }
        if line.starts_with("pub struct ") && line.ends_with('{') {
            in_struct = true;
        } else if line == "}" {
            in_struct = false;
        } else if let Some(field) = line.strip_prefix("pub ").filter(|_| in_struct)
            && !doc.contains("Default:")
            && !doc.contains("Required")
        {
            let name = field.split(':').next().unwrap_or(field);
            let what = format!("field `{name}` does not say its default");
            let instead = "add `Default: …` or `Required` to its doc";
            findings.push(Finding::new(path, number, "config-docs", what, instead));
        }
        doc.clear();
    }
    findings
}

pub(super) fn no_orphans(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (owner, path, _) in tree.sources() {
        let src = format!("{}/src/", owner.dir);
        let inside = path[src.len()..].trim_end_matches(".rs");
        if matches!(inside, "lib" | "main") || inside.starts_with("bin/") {
            continue;
        }
        let (parents, name) = match inside.rsplit_once('/') {
            Some((folder, name)) => (vec![format!("{src}{folder}.rs")], name),
            None => (vec![format!("{src}lib.rs"), format!("{src}main.rs")], inside),
        };
        let declared = |text: &str| {
            code(text).any(|(_, line)| module(line) == Some(&format!("{name};")))
                || text.contains(&format!("{name}.rs\"]"))
        };
        if !parents.iter().filter_map(|parent| tree.text(parent)).any(declared) {
            let what = format!("no `mod {name};` leads here");
            let instead = "declare it in its parent or remove the file";
            findings.push(Finding::new(path, 1, "orphans", what, instead));
        }
    }
    findings
}

pub(super) fn nothing_unfinished(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(|(path, text)| leftovers(path, text)).collect()
}

/// In two parts, so that who searches this tree for them finds no unfinished code here.
const FIX_ME: &str = concat!("FIX", "ME");
const TO_DO: &str = concat!("to", "do!");
const BARE_IGNORE: &str = concat!("#[", "ignore]");

fn leftovers(path: &str, text: &str) -> Vec<Finding> {
    const WORDS: &[(&str, &str)] = &[
        ("dbg!", "remove it"),
        (TO_DO, "finish it or leave it out"),
        ("unimplemented!", "finish it or leave it out"),
        (FIX_ME, "fix it or open an issue"),
        (BARE_IGNORE, "give the reason: `#[ignore = \"…\"]`"),
        ("#[should_panic]", "say which panic: `#[should_panic(expected = \"…\")]`"),
    ];
    let mut findings = Vec::new();
    for (word, instead) in WORDS.iter().filter(|(word, _)| text.contains(word)) {
        let what = format!("`{word}`");
        findings.push(Finding::new(path, line_of(text, word), UNFINISHED, what, *instead));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::example::{places, tree};

    const LIB: &str = "crates/a/src/lib.rs";
    const FILE: &str = "crates/a/src/x.rs";

    #[test]
    fn a_head_and_must_not_know_are_wanted() {
        let good = tree(&[(LIB, "//! It.\n//! Must not know: all.\n"), (FILE, "//! X.\n")]);
        assert_eq!(files_begin_with_a_head(&good), []);
        let bad = tree(&[(LIB, "//! It.\n"), (FILE, "mod x;\n"), ("crates/a/tests/t.rs", "")]);
        assert_eq!(
            places(&files_begin_with_a_head(&bad)),
            [format!("{LIB}:1"), format!("{FILE}:1")]
        );
    }

    #[test]
    fn drawers_are_found_as_file_folder_module_and_mod_rs() {
        assert_eq!(no_drawers(&tree(&[(FILE, "mod community {\n}\n")])), []);
        let inline = tree(&[(FILE, "\npub(crate) mod helpers {\n}\n")]);
        assert_eq!(places(&no_drawers(&inline)), [format!("{FILE}:2")]);
        for path in ["crates/a/src/utils.rs", "crates/a/src/misc/x.rs", "crates/a/src/x/mod.rs"] {
            assert_eq!(no_drawers(&tree(&[(path, "")])).len(), 1, "{path}");
        }
    }

    #[test]
    fn only_sync_models_and_tests_may_name_threads() {
        let sync = ("crates/a/src/sync.rs", "pub(crate) use std::sync::Arc;\n");
        let model = ("crates/a/src/loom_x.rs", "use loom::thread;\n");
        let good =
            "// std::sync is elsewhere\nuse crate::sync::Arc;\n#[cfg(test)]\nuse std::thread;\n";
        assert_eq!(sync_is_the_only_door_to_threads(&tree(&[sync, model, (FILE, good)])), []);
        let direct = tree(&[sync, (FILE, "\nuse std::sync::Arc;\n")]);
        assert_eq!(places(&sync_is_the_only_door_to_threads(&direct)), [format!("{FILE}:2")]);
        let grouped = tree(&[sync, (FILE, "use std::{\n    fs,\n    thread,\n};\n")]);
        assert_eq!(places(&sync_is_the_only_door_to_threads(&grouped)), [format!("{FILE}:1")]);
        let without_door = tree(&[(FILE, "use std::sync::Arc;\n")]);
        assert_eq!(sync_is_the_only_door_to_threads(&without_door), []);
    }

    #[test]
    fn byte_order_stands_in_format_only_and_native_order_nowhere() {
        let little = "let b = n.to_le_bytes();\n";
        let native = "let b = n.to_ne_bytes();\n";
        let format = "crates/a/src/format.rs";
        assert_eq!(format_is_the_only_file_with_bytes(&tree(&[(format, little)])), []);
        assert_eq!(format_is_the_only_file_with_bytes(&tree(&[(FILE, little)])).len(), 1);
        assert_eq!(format_is_the_only_file_with_bytes(&tree(&[(format, native)])).len(), 1);
        assert_eq!((byte_door("ng-core"), byte_door("ng-wal")), ("token/image.rs", "format.rs"));
    }

    #[test]
    fn a_type_aligned_to_a_page_is_found_wherever_it_stands() {
        let good = "#[repr(C, align(64))]\nstruct A;\n#[repr(align(128))]\nstruct B;\n// repr(align(4096))\n";
        assert_eq!(nothing_on_the_stack_is_aligned_to_a_page(&tree(&[(FILE, good)])), []);
        for alignment in ["align(4096)", "C, align( 256 )", "align(1_024)"] {
            let bad = format!("\n#[repr({alignment})]\nstruct A;\n");
            let findings = nothing_on_the_stack_is_aligned_to_a_page(&tree(&[(FILE, &bad)]));
            assert_eq!(places(&findings), [format!("{FILE}:2")]);
        }
    }

    #[test]
    fn a_config_field_without_default_is_found_and_private_ones_are_free() {
        let good = "pub struct C {\n    /// Size.\n    /// Default: 1.\n    #[serde]\n    pub a: u8,\n    /// Required.\n    pub b: u8,\n    c: u8,\n}\nimpl C {\n    pub fn d() {}\n}\n";
        let config = "crates/a/src/config.rs";
        assert_eq!(config_fields_name_their_default(&tree(&[(config, good)])), []);
        let bad = good.replace("    /// Default: 1.\n", "");
        let findings = config_fields_name_their_default(&tree(&[(config, &bad)]));
        assert_eq!(places(&findings), [format!("{config}:4")]);
    }

    #[test]
    fn a_file_that_no_module_line_names_is_an_orphan() {
        let deep = "crates/a/src/x/y.rs";
        let good = tree(&[(LIB, "pub(crate) mod x;\n"), (FILE, "mod y;\n"), (deep, "")]);
        assert_eq!(no_orphans(&good), []);
        let bad = tree(&[(LIB, "// mod x;\nmod xy;\n"), (FILE, ""), (deep, "")]);
        assert_eq!(no_orphans(&bad).len(), 2);
    }

    #[test]
    fn leftovers_are_found_in_tests_too() {
        let good = "#[ignore = \"needs a disk\"]\n#[should_panic(expected = \"x\")]\n";
        let test = "crates/a/tests/t.rs";
        assert_eq!(nothing_unfinished(&tree(&[(test, good)])), []);
        for bad in ["dbg!(x)", TO_DO, FIX_ME, BARE_IGNORE, "#[should_panic]"] {
            assert_eq!(nothing_unfinished(&tree(&[(test, bad)])).len(), 1, "{bad}");
        }
    }
}
