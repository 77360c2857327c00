//! Which names, help texts and labels a page may carry; the same rules at registration and scrape.
//!
//! Stricter than the exposition formats, so that each accepted name is valid in both of them and
//! no two families' sample names can meet: the suffixes that a format adds are refused in names.

use std::collections::HashMap;

use crate::{RegisterError, mutants};

const NAME: &str = "it must match [a-z_][a-z0-9_]*";
/// Suffixes that mark sample names on our pages. `_created` is not among them, since
/// `tokens_created` is a good name for a counter: [`Names`] sees to it that it meets no other.
const RESERVED_SUFFIXES: [&str; 5] = ["_total", "_count", "_sum", "_bucket", "_info"];

/// Suffix of the sample that says since when a counter or histogram has counted.
pub(crate) const CREATED: &str = "_created";

/// The names that families and their samples have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// A name, and the family that it belongs to.
    taken: HashMap<String, String>,
}

impl Names {
    /// May there be a family `name`, with a sample `name_created` if it `counts`?
    pub(crate) fn check(&self, name: &str, counts: bool) -> Result<(), RegisterError> {
        let created = format!("{name}{CREATED}");
        let mut wanted = vec![name];
        if counts && !mutants::on("metrics-created-may-clash") {
            wanted.push(&created);
        }
        match wanted.into_iter().find_map(|wanted| self.taken.get(wanted)) {
            None => Ok(()),
            Some(with) if with == name => Err(RegisterError::Duplicate { name: name.to_owned() }),
            Some(with) => {
                Err(RegisterError::Clash { name: name.to_owned(), with: with.to_owned() })
            }
        }
    }

    /// Takes what `check` found free.
    pub(crate) fn take(&mut self, name: &str, counts: bool) {
        self.taken.insert(name.to_owned(), name.to_owned());
        if counts {
            self.taken.insert(format!("{name}{CREATED}"), name.to_owned());
        }
    }
}

fn is_plain(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

pub(crate) fn check_prefix(prefix: &str) -> Result<(), RegisterError> {
    let rule = "it must be empty, or match [a-z_][a-z0-9_]* and not end in _";
    if prefix.is_empty() || is_plain(prefix) && !prefix.ends_with('_') {
        return Ok(());
    }
    Err(RegisterError::Prefix { prefix: prefix.to_owned(), rule })
}

/// Checks a family's name, without prefix, and its help.
pub(crate) fn check_family(name: &str, help: &str) -> Result<(), RegisterError> {
    let bad_name = |rule| Err(RegisterError::Name { name: name.to_owned(), rule });
    let bad_help = |rule| Err(RegisterError::Help { name: name.to_owned(), rule });
    if !is_plain(name) {
        return bad_name(NAME);
    }
    let reserved = |suffix: &&str| name.ends_with(*suffix) || name == &suffix[1..];
    if RESERVED_SUFFIXES.iter().any(reserved) {
        return bad_name("_total, _count, _sum, _bucket and _info are added by the page");
    }
    if help.trim().is_empty() {
        return bad_help("it must not be empty");
    }
    if help.chars().any(char::is_control) {
        return bad_help("it must be one line without control characters");
    }
    Ok(())
}

/// Checks that a histogram which exports seconds says so.
pub(crate) fn check_seconds(name: &str) -> Result<(), RegisterError> {
    if name.ends_with("_seconds") {
        return Ok(());
    }
    Err(RegisterError::Name { name: name.to_owned(), rule: "it must end in _seconds" })
}

/// Checks the label names of family `name`.
pub(crate) fn check_labels(name: &str, labels: &[&str]) -> Result<(), RegisterError> {
    let bad = |label: &str, rule| {
        Err(RegisterError::Label { name: name.to_owned(), label: label.to_owned(), rule })
    };
    if labels.is_empty() {
        return bad("", "at least one label is needed");
    }
    for (i, label) in labels.iter().enumerate() {
        if !is_plain(label) {
            return bad(label, NAME);
        }
        if label.starts_with("__") || ["le", "quantile"].contains(label) {
            return bad(label, "names from __, le and quantile are reserved");
        }
        if labels[..i].contains(label) {
            return bad(label, "there is one of that name already");
        }
    }
    Ok(())
}
