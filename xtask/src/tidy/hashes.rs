//! docs/FORMAT.md keeps a hash of each `format.rs` it describes, so that neither changes alone. The hash is FNV-1a over
//! the text with `\n` line ends: it guards against forgetting, not against malice.

use std::{collections::BTreeMap, fs, path::Path};

use super::{Finding, Tree, tree::lines};

const FORMAT: &str = "docs/FORMAT.md";
const OPEN: &str = "<!-- format-hash: ";
const CLOSE: &str = " -->";
const RULE: &str = "format-hash";

pub(super) fn format_has_not_changed_alone(tree: &Tree) -> Vec<Finding> {
    let present = present(tree);
    let text = tree.text(FORMAT).unwrap_or_default();
    let mut stored = stored(text);
    let mut findings = Vec::new();
    for (path, hash) in present {
        let instead = format!("bring {FORMAT} up to date, then `cargo xtask tidy --bless`");
        match stored.remove(path) {
            Some((_, known)) if known == hash => {}
            Some(_) => findings.push(Finding::new(path, 1, RULE, "changed alone", instead)),
            None => findings.push(Finding::new(path, 1, RULE, "has no hash there", instead)),
        }
    }
    for (path, (line, _)) in stored {
        let what = format!("`{path}` is not there");
        findings.push(Finding::new(FORMAT, line, RULE, what, "remove the line"));
    }
    findings
}

/// Rewrites the lines in docs/FORMAT.md; returns how many.
pub(super) fn bless(tree: &Tree, root: &Path) -> Result<usize, String> {
    let text = tree.text(FORMAT).ok_or_else(|| format!("{FORMAT} is not there: write it first"))?;
    let present = present(tree);
    fs::write(root.join(FORMAT), blessed(text, &present))
        .map_err(|error| format!("cannot write {FORMAT}: {error}"))?;
    Ok(present.len())
}

/// The document with exactly these lines, where the first of the old ones stood or at the end.
fn blessed(text: &str, present: &BTreeMap<&str, String>) -> String {
    let block = present.iter().map(|(path, hash)| format!("{OPEN}{path} {hash}{CLOSE}\n"));
    let block: String = block.collect();
    let first = lines(text).find(|(_, line)| line.starts_with(OPEN)).map(|(number, _)| number);
    let mut out = String::new();
    for (number, line) in lines(text) {
        if Some(number) == first {
            out.push_str(&block);
        }
        if !line.starts_with(OPEN) {
            out.push_str(line);
            out.push('\n');
        }
    }
    if first.is_none() && !block.is_empty() {
        out.push('\n');
        out.push_str(&block);
    }
    out
}

fn present(tree: &Tree) -> BTreeMap<&str, String> {
    tree.sources()
        // What floor 2 calls a format does not outlive its process.
        .filter(|(owner, path, _)| owner.floor < Some(2) && path.ends_with("/format.rs"))
        .map(|(_, path, text)| (path, hash(text)))
        .collect()
}

fn stored(text: &str) -> BTreeMap<&str, (usize, &str)> {
    lines(text)
        .filter_map(|(number, line)| {
            let (path, hash) = line.strip_prefix(OPEN)?.strip_suffix(CLOSE)?.split_once(' ')?;
            Some((path, (number, hash)))
        })
        .collect()
}

fn hash(text: &str) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in text.bytes().filter(|byte| *byte != b'\r') {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::{
        example::{places, tree},
        line_of,
    };

    const SOURCE: &str = "crates/a/src/format.rs";

    #[test]
    fn the_hash_is_fnv_1a_and_does_not_see_line_ends() {
        assert_eq!(hash(""), "cbf29ce484222325");
        assert_eq!(hash("a"), "af63dc4c8601ec8c");
        assert_eq!(hash("a\r\nb"), hash("a\nb"));
    }

    #[test]
    fn a_format_that_changed_alone_is_found_and_blessing_settles_it() {
        let old = tree(&[(SOURCE, "old"), (FORMAT, "# F\ntext\n")]);
        assert_eq!(places(&format_has_not_changed_alone(&old)), [format!("{SOURCE}:1")]);
        let document = blessed("# F\ntext\n", &present(&old));
        let settled = tree(&[(SOURCE, "old"), (FORMAT, &document)]);
        assert_eq!(format_has_not_changed_alone(&settled), []);
        let changed = tree(&[(SOURCE, "new"), (FORMAT, &document)]);
        assert_eq!(places(&format_has_not_changed_alone(&changed)), [format!("{SOURCE}:1")]);
        // Blessing again replaces the lines where they stand.
        let again = blessed(&document, &present(&changed));
        assert_eq!(line_of(&again, OPEN), line_of(&document, OPEN));
        assert_eq!(format_has_not_changed_alone(&tree(&[(SOURCE, "new"), (FORMAT, &again)])), []);
    }

    #[test]
    fn a_stored_hash_of_a_file_that_is_gone_is_found() {
        let line = format!("# F\n{OPEN}{SOURCE} 0{CLOSE}\n");
        let findings = format_has_not_changed_alone(&tree(&[(FORMAT, &line)]));
        assert_eq!(places(&findings), [format!("{FORMAT}:2")]);
    }
}
