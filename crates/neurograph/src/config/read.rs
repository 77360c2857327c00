//! A settings file read against the table: every key has a row, every value is of its kind, and what is wrong is told
//! all at once. Relations between settings are not its matter.

use super::error::{Origin, PROBLEMS_MAX, Problem, ProblemKind, Warning};
use super::settings::{RETIRED, Retired, SETTINGS, Setting, setting};
use super::value::{Value, quoted};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The version of the settings' format that this build reads.
const VERSION: u64 = 1;
const VERSION_KEY: &str = "version";

/// What a text says.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) values: Vec<(&'static Setting, Value, Origin)>,
    /// Settings that the text names with a value that can't be used.
    pub(super) bad: Vec<&'static str>,
    pub(super) problems: Vec<Problem>,
    /// Problems beyond those.
    pub(super) more: usize,
    pub(super) warnings: Vec<Warning>,
}

pub(super) fn read(text: &str) -> Reading {
    read_by(text, RETIRED)
}

/// What was found at a place of the text; turned into words once it is known to be among those that are kept.
struct Found {
    at: Range<usize>,
    what: What,
}

enum What {
    Syntax(String),
    /// The key, and whether it is an empty table.
    Unknown(String, bool),
    /// The setting, its value and what it must be.
    Bad(String, Shown, String),
}

/// A value as a message shows it.
enum Shown {
    As(&'static str),
    Written(Range<usize>),
}

struct Reader<'a> {
    text: &'a str,
    retired: &'a [Retired],
    places: Places<'a>,
    found: Vec<Found>,
    reading: Reading,
}

fn read_by(text: &str, retired: &[Retired]) -> Reading {
    // The mark that some editors put before a text is no character of it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let places = Places::new(text);
    let mut reader =
        Reader { text, retired, places, found: Vec::new(), reading: Reading::default() };
    reader.table(&mut Vec::new(), table.get_ref());
    reader.leave_out_what_syntax_explains(&errors);
    for error in errors {
        let at = error.span().unwrap_or(text.len()..text.len());
        reader.found.push(Found { at, what: What::Syntax(error.message().into()) });
    }
    reader.finish()
}

impl Reader<'_> {
    fn table(&mut self, path: &mut Vec<String>, table: &DeTable<'_>) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            self.key(path, key.span(), value);
            path.pop();
        }
    }

    fn key(&mut self, path: &mut Vec<String>, at: Range<usize>, given: &Spanned<DeValue<'_>>) {
        let name = dotted(path);
        if name == VERSION_KEY {
            self.version(given);
        } else if let Some(setting) = setting(&name) {
            self.value(setting, at, given);
        } else if let Some(retired) = self.retired.iter().find(|retired| retired.name == name) {
            self.retired(retired, at, given);
        } else if is_section(&name) {
            match given.get_ref() {
                DeValue::Table(table) => self.table(path, table),
                _ => self.bad(name, at, given, "a table of settings".into()),
            }
        } else {
            match given.get_ref() {
                DeValue::Table(table) if !table.is_empty() => self.table(path, table),
                other => {
                    let what = What::Unknown(name, other.is_table());
                    self.found.push(Found { at, what });
                }
            }
        }
    }

    fn version(&mut self, given: &Spanned<DeValue<'_>>) {
        let number = given.get_ref().as_integer().map(ToString::to_string);
        if number.and_then(|text| text.parse().ok()) != Some(VERSION) {
            let expected = format!("{VERSION}, the version that this build reads");
            self.bad(VERSION_KEY.into(), given.span(), given, expected);
        }
    }

    fn value(
        &mut self,
        setting: &'static Setting,
        key: Range<usize>,
        given: &Spanned<DeValue<'_>>,
    ) {
        match setting.kind().read(given.get_ref()) {
            Some(value) => {
                let origin = self.places.origin(given.span().start);
                self.reading.values.push((setting, value, origin));
            }
            None => {
                self.reading.bad.push(setting.name());
                self.bad(setting.name().into(), key, given, setting.kind().expected());
            }
        }
    }

    fn retired(&mut self, retired: &Retired, key: Range<usize>, given: &Spanned<DeValue<'_>>) {
        let origin = self.places.origin(key.start);
        let (name, advice) = (retired.name.into(), retired.advice.into());
        self.reading.warnings.push(Warning { origin, name, advice });
        if let Some(setting) = retired.now.and_then(setting) {
            self.value(setting, key, given);
        }
    }

    /// `key` is the place where there is no value: a table's is where it was opened, which may be far away.
    fn bad(
        &mut self,
        name: String,
        key: Range<usize>,
        given: &Spanned<DeValue<'_>>,
        expected: String,
    ) {
        let span = given.span();
        let (at, shown) = match given.get_ref() {
            DeValue::Table(_) => (key, Shown::As("a table")),
            DeValue::Array(_) => (key, Shown::As("an array")),
            _ if span.is_empty() => (key, Shown::As("empty")),
            _ => (span.clone(), Shown::Written(span)),
        };
        self.found.push(Found { at, what: What::Bad(name, shown, expected) });
    }

    /// A broken value is told once, as such, and not as a setting's wrong value too: the parser puts a zero in the place
    /// of what it cannot read.
    fn leave_out_what_syntax_explains(&mut self, errors: &[toml::de::Error]) {
        let broken: Vec<_> = errors
            .iter()
            .filter_map(toml::de::Error::span)
            .map(|span| self.places.line(span.start))
            .collect();
        if !broken.is_empty() {
            let places = &self.places;
            self.found.retain(|found| !broken.contains(&places.line(found.at.start)));
        }
    }

    fn finish(mut self) -> Reading {
        self.found.sort_by_key(|found| found.at.start);
        let mut reading = self.reading;
        reading.more = self.found.len().saturating_sub(PROBLEMS_MAX);
        for Found { at, what } in self.found.drain(..).take(PROBLEMS_MAX) {
            let origin = self.places.origin(at.start);
            reading.problems.push(match what {
                What::Syntax(expected) => Problem {
                    kind: ProblemKind::Syntax,
                    origin,
                    name: String::new(),
                    value: String::new(),
                    expected,
                },
                What::Unknown(name, is_table) => {
                    let expected = nearest(&name, is_table);
                    let (kind, value) = (ProblemKind::UnknownKey, String::new());
                    Problem { kind, origin, name: shortened(&name), value, expected }
                }
                What::Bad(name, shown, expected) => {
                    let value = match shown {
                        Shown::As(words) => words.into(),
                        Shown::Written(span) => as_written(self.text, span),
                    };
                    Problem::value(origin, &name, value, expected)
                }
            });
        }
        reading
    }
}

/// The key as TOML writes it: parts that are not bare words in quotes, so that a dot within a part is none between them.
fn dotted(path: &[String]) -> String {
    let bare = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    let parts: Vec<_> =
        path.iter().map(|part| if bare(part) { part.clone() } else { quoted(part) }).collect();
    parts.join(".")
}

/// Does a setting's name begin with this and a dot?
fn is_section(name: &str) -> bool {
    let within =
        |setting: &str| setting.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    SETTINGS.iter().any(|setting| within(setting.name()))
}

/// The value's own text on one line.
fn as_written(text: &str, span: Range<usize>) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.into() };
    shortened(text.get(span).unwrap_or_default()).chars().map(escaped).collect()
}

/// Most characters of a value or a key that a message shows.
const SHOWN_MAX: usize = 80;

pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// The known key, or for an empty table the known table, that takes the fewest changes of a character; its last part
/// alone counts too, so that a key in the wrong table is found, and a beginning of it is near.
fn nearest(name: &str, is_table: bool) -> String {
    let name: String = name.chars().take(SHOWN_MAX).collect();
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_string();
    let far = |known: &str| {
        let (end, known_end) = (last(&name), last(known));
        let begun = !end.is_empty() && known_end.starts_with(&end);
        let by_end = if begun { 2 } else { 1 + changes(&end, &known_end) };
        changes(&name, known).min(by_end)
    };
    let keys = SETTINGS.iter().map(Setting::name);
    let known: Vec<_> = if is_table {
        keys.filter_map(|key| key.rsplit_once('.').map(|(section, _)| section)).collect()
    } else {
        keys.chain([VERSION_KEY]).collect()
    };
    known.into_iter().min_by_key(|known| far(known)).unwrap_or_default().into()
}

/// Characters to insert, remove or replace to make one of the other.
fn changes(from: &str, to: &str) -> usize {
    let to: Vec<_> = to.chars().collect();
    let mut row: Vec<_> = (0..=to.len()).collect();
    for (index, c) in from.chars().enumerate() {
        let mut diagonal = index;
        row[0] = index + 1;
        for column in 1..row.len() {
            let replaced = diagonal + usize::from(to[column - 1] != c);
            diagonal = row[column];
            row[column] = replaced.min(diagonal + 1).min(row[column - 1] + 1);
        }
    }
    row[to.len()]
}

/// Where a text's lines begin.
struct Places<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Places<'a> {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Places { text, starts: std::iter::once(0).chain(after).collect() }
    }

    /// From 0.
    fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at).saturating_sub(1)
    }

    fn origin(&self, at: usize) -> Origin {
        let line = self.line(at);
        let before = self.text.get(self.starts[line]..at).unwrap_or_default();
        Origin::Toml { line: line + 1, column: before.chars().count() + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_key_warns_and_its_value_goes_where_it_belongs_now() {
        let moved = Retired {
            name: "guardian.quota",
            now: Some("guardian.max_tokens"),
            advice: "it is called guardian.max_tokens now",
        };
        let gone = Retired { name: "wal.mode", now: None, advice: "it has no effect" };
        let retired = [moved, gone];
        let reading = read_by("[guardian]\nquota = 5\n[wal]\nmode = \"any\"", &retired);
        assert_eq!(reading.problems, []);
        let said: Vec<_> = reading.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "line 2, column 1: guardian.quota: it is called guardian.max_tokens now",
                "line 4, column 1: wal.mode: it has no effect"
            ]
        );
        let values: Vec<_> = reading.values.iter().map(|(s, v, _)| (s.name(), v.clone())).collect();
        assert_eq!(values, [("guardian.max_tokens", Value::Whole(Some(5)))]);
        let reading = read_by("guardian.quota = -5", &retired);
        assert_eq!(reading.problems[0].name, "guardian.max_tokens");
    }

    #[test]
    fn what_the_table_of_retired_keys_names_is_no_setting_and_leads_to_one() {
        for retired in RETIRED {
            assert!(setting(retired.name).is_none(), "{}", retired.name);
            assert!(retired.now.is_none_or(|now| setting(now).is_some()), "{}", retired.name);
        }
    }

    #[test]
    fn changes_are_counted_by_characters() {
        for (from, to, count) in
            [("", "", 0), ("", "ab", 2), ("wal", "wall", 1), ("rate", "late", 1), ("ä", "a", 1)]
        {
            assert_eq!(changes(from, to), count, "{from:?} {to:?}");
            assert_eq!(changes(to, from), count, "{to:?} {from:?}");
        }
    }
}
