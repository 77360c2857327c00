//! What kinds of values settings have: how each is read from TOML and from text, checked, written and described.

use super::Persist;
use ng_guardian::{CleanupPolicy, Evict, PressureMode};
use ng_wal::Durability;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::{DeInteger, DeValue};

/// The kind of a setting's value and the range that holds whatever the other settings are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number, or the word that stands for `None`.
    Whole { unit: &'static str, least: u64, most: u64, step: Step, none: Option<&'static str> },
    /// A part of one; `zero` is taken although it lies below `least`.
    Share { least: f64, most: f64, zero: bool },
    /// A length of time: text with a unit, or the word that stands for `None`.
    Time { least: Duration, most: Duration, none: Option<&'static str> },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A path; where it may be absent, the empty text says so.
    Path { optional: bool },
}

/// Which numbers of the range are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Any,
    PowerOfTwo,
    Multiple(u64),
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Switch(bool),
    Whole(Option<u64>),
    Share(f64),
    Time(Option<Duration>),
    Word(&'static str),
    Path(Option<PathBuf>),
}

impl Kind {
    /// Is the value of this kind and within the range?
    pub(crate) fn takes(&self, value: &Value) -> bool {
        match (self, value) {
            (Kind::Switch, Value::Switch(_)) => true,
            (Kind::Whole { none, .. }, Value::Whole(None)) => none.is_some(),
            (Kind::Whole { least, most, step, .. }, Value::Whole(Some(number))) => {
                (least..=most).contains(&number) && step.takes(*number)
            }
            (Kind::Share { least, most, zero }, Value::Share(share)) => {
                (least..=most).contains(&share) || (*zero && *share == 0.0)
            }
            (Kind::Time { none, .. }, Value::Time(None)) => none.is_some(),
            (Kind::Time { least, most, .. }, Value::Time(Some(time))) => {
                (least..=most).contains(&time)
            }
            (Kind::Choice(words), Value::Word(word)) => words.contains(word),
            (Kind::Path { optional }, Value::Path(path)) => match path {
                Some(path) => !path.as_os_str().is_empty(),
                None => *optional,
            },
            _ => false,
        }
    }

    /// The value that a settings file gives; `None` for one of another kind or out of range.
    pub(crate) fn read(&self, given: &DeValue<'_>) -> Option<Value> {
        let value = match (self, given) {
            (Kind::Switch, DeValue::Boolean(value)) => Value::Switch(*value),
            (Kind::Whole { .. }, DeValue::Integer(integer)) => Value::Whole(Some(whole(integer)?)),
            (Kind::Whole { none, .. }, DeValue::String(text)) if *none == Some(&**text) => {
                Value::Whole(None)
            }
            (Kind::Share { .. }, DeValue::Integer(integer)) => {
                Value::Share(integer.as_str().parse().ok().filter(|_| integer.radix() == 10)?)
            }
            (Kind::Share { .. }, DeValue::Float(float)) => {
                Value::Share(float.as_str().parse().ok()?)
            }
            (Kind::Time { none, .. }, DeValue::String(text)) if *none == Some(&**text) => {
                Value::Time(None)
            }
            (Kind::Time { .. }, DeValue::String(text)) => Value::Time(Some(time_of(text)?)),
            (Kind::Choice(words), DeValue::String(text)) => {
                Value::Word(words.iter().find(|word| ***word == **text)?)
            }
            (Kind::Path { .. }, DeValue::String(text)) => {
                Value::Path((!text.is_empty()).then(|| PathBuf::from(&**text)))
            }
            _ => return None,
        };
        self.takes(&value).then_some(value)
    }

    /// The value that a variable of the environment gives: a number, `_` between its digits or not, or the word for
    /// no limit.
    pub(crate) fn read_text(&self, text: &str) -> Option<Value> {
        let value = match self {
            Kind::Whole { none, .. } if *none == Some(text) => Value::Whole(None),
            Kind::Whole { .. } if text.starts_with(|c: char| c.is_ascii_digit()) => {
                Value::Whole(Some(text.replace('_', "").parse().ok()?))
            }
            _ => return None,
        };
        self.takes(&value).then_some(value)
    }

    /// What would be taken, as the end of "it must be …".
    pub(crate) fn expected(&self) -> String {
        match self {
            Kind::Switch => "true or false".into(),
            Kind::Whole { none, .. } => or("a whole number from ", &self.range(), *none),
            Kind::Share { zero: true, .. } => self.range(),
            Kind::Share { .. } => format!("a number from {}", self.range()),
            Kind::Time { none, .. } => {
                or("a time from ", &format!("{} ({UNITS})", self.range()), *none)
            }
            Kind::Choice(words) => alternatives(words),
            Kind::Path { optional: true } => "a path as text, or \"\" for none".into(),
            Kind::Path { .. } => "a path as text".into(),
        }
    }

    /// What it may be where code gave `value`: in a file an empty path is none, in code it is no path at all.
    pub(crate) fn expected_of(&self, value: &Value) -> String {
        match (self, value) {
            (Kind::Path { optional: true }, Value::Path(Some(_))) => {
                "`None`, or a path that is not empty".into()
            }
            (Kind::Path { .. }, Value::Path(_)) => "a path that is not empty".into(),
            _ => self.expected(),
        }
    }

    /// The range alone, without the word for `None`.
    pub(crate) fn range(&self) -> String {
        match self {
            Kind::Switch => "true, false".into(),
            Kind::Whole { least, most, step, .. } => match step {
                Step::Any => format!("{least} to {most}"),
                Step::PowerOfTwo => format!("{least} to {most}, a power of two"),
                Step::Multiple(of) => format!("{least} to {most}, a multiple of {of}"),
            },
            Kind::Share { least, most, .. } if *least == f64::MIN_POSITIVE => {
                format!("above 0 to {most}")
            }
            Kind::Share { least, most, zero: true } => {
                format!("0, or a number from {least:?} to {most}")
            }
            Kind::Share { least, most, .. } if *least == 0.0 => format!("0 to {most}"),
            Kind::Share { least, most, .. } => format!("{least:?} to {most}"),
            Kind::Time { least, most, .. } if *most == Duration::MAX => {
                format!("\"{}\" on", time_text(*least))
            }
            Kind::Time { least, most, .. } => {
                format!("\"{}\" to \"{}\"", time_text(*least), time_text(*most))
            }
            Kind::Choice(words) => words.join(", "),
            Kind::Path { .. } => "any path".into(),
        }
    }

    /// The word that a settings file has for `None`.
    pub(crate) fn none(&self) -> Option<&'static str> {
        match self {
            Kind::Whole { none, .. } | Kind::Time { none, .. } => *none,
            Kind::Path { optional: true } => Some(""),
            _ => None,
        }
    }

    pub(crate) fn unit(&self) -> &'static str {
        match self {
            Kind::Whole { unit, .. } => unit,
            Kind::Share { .. } => "share",
            Kind::Time { .. } => "time",
            Kind::Switch | Kind::Choice(_) | Kind::Path { .. } => "",
        }
    }

    /// The value as a settings file has it; `None` for a path that is not Unicode, which TOML cannot hold.
    pub(crate) fn write(&self, value: &Value) -> Option<String> {
        let none = || quoted(self.none().unwrap_or_default());
        Some(match value {
            Value::Switch(value) => value.to_string(),
            Value::Whole(Some(number)) => number.to_string(),
            // `{:?}`, since TOML's numbers with a fraction have a point or an exponent.
            Value::Share(share) => format!("{share:?}").replace("NaN", "nan"),
            Value::Time(Some(time)) => quoted(&time_text(*time)),
            Value::Word(word) => quoted(word),
            Value::Path(Some(path)) => quoted(path.to_str()?),
            Value::Whole(None) | Value::Time(None) | Value::Path(None) => none(),
        })
    }
}

impl Step {
    fn takes(self, number: u64) -> bool {
        match self {
            Step::Any => true,
            Step::PowerOfTwo => number.is_power_of_two(),
            Step::Multiple(of) => number.is_multiple_of(of),
        }
    }
}

fn or(lead: &str, range: &str, none: Option<&str>) -> String {
    match none {
        Some(word) => format!("{lead}{range} or {}", quoted(word)),
        None => format!("{lead}{range}"),
    }
}

fn alternatives(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

fn whole(integer: &DeInteger<'_>) -> Option<u64> {
    // By way of the larger type, since TOML's -0 is 0.
    let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    u64::try_from(number).ok()
}

const UNITS: &str = "a whole number and ns, us, ms, s, m or h";
/// Longest first: a time is written in the longest unit that it is a multiple of.
const NANOSECONDS: &[(&str, u128)] = &[
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

fn time_of(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u128 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_start_matches(' ');
    let (_, each) = NANOSECONDS.iter().find(|(name, _)| *name == unit)?;
    let ns = number.checked_mul(*each)?;
    let seconds = u64::try_from(ns / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, (ns % 1_000_000_000) as u32))
}

pub(crate) fn time_text(time: Duration) -> String {
    let ns = time.as_nanos();
    if ns == 0 {
        return "0s".into();
    }
    let whole = NANOSECONDS.iter().find(|(_, each)| ns.is_multiple_of(*each));
    whole.map_or_else(String::new, |(unit, each)| format!("{}{unit}", ns / each))
}

/// As a basic string of TOML.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _written = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A field of a config that a setting can stand for.
pub(crate) trait Field {
    fn get(&self) -> Value;
    /// Changes nothing for a value of another kind, or one that the field's type cannot hold.
    fn set(&mut self, value: Value);
}

macro_rules! field {
    ($type:ty, $kind:ident, $field:ident => $get:expr, $value:ident => $set:expr) => {
        impl Field for $type {
            fn get(&self) -> Value {
                let $field = self;
                Value::$kind($get)
            }
            fn set(&mut self, value: Value) {
                if let Value::$kind($value) = value
                    && let Some(value) = $set
                {
                    *self = value;
                }
            }
        }
    };
}

field!(bool, Switch, field => *field, value => Some(value));
field!(u32, Whole, field => Some(u64::from(*field)), value => value.and_then(|v| v.try_into().ok()));
field!(u64, Whole, field => Some(*field), value => value);
field!(usize, Whole, field => Some(*field as u64), value => value.and_then(|v| v.try_into().ok()));
field!(Option<u64>, Whole, field => *field, value => Some(value));
field!(Option<u32>, Whole, field => field.map(u64::from), value => match value {
    Some(number) => u32::try_from(number).ok().map(Some),
    None => Some(None),
});
field!(f64, Share, field => *field, value => Some(value));
field!(Duration, Time, field => Some(*field), value => value);
field!(Option<Duration>, Time, field => *field, value => Some(value));
field!(PathBuf, Path, field => Some(field.clone()), value => value);
field!(Option<PathBuf>, Path, field => field.clone(), value => Some(value));

/// An enum whose variants have words. A variant that a floor-0 crate adds without a word here has `?`, which no
/// setting takes.
macro_rules! words {
    ($type:ty, $words:ident, $($variant:path = $word:literal),+) => {
        pub(crate) const $words: &[&str] = &[$($word),+];

        impl Field for $type {
            fn get(&self) -> Value {
                $(if *self == $variant {
                    return Value::Word($word);
                })+
                Value::Word("?")
            }
            fn set(&mut self, value: Value) {
                match value {
                    $(Value::Word($word) => *self = $variant,)+
                    _ => {}
                }
            }
        }
    };
}

words!(Persist, PERSIST, Persist::All = "all", Persist::Flagged = "flagged");
words!(
    Durability,
    DURABILITY,
    Durability::Relaxed = "relaxed",
    Durability::Balanced = "balanced",
    Durability::Strict = "strict"
);
words!(
    CleanupPolicy,
    CLEANUP_POLICY,
    CleanupPolicy::Oldest = "oldest",
    CleanupPolicy::Lightest = "lightest",
    CleanupPolicy::Weakest = "weakest"
);
words!(Evict, EVICT, Evict::Unlogged = "unlogged", Evict::All = "all");
words!(PressureMode, PRESSURE, PressureMode::Signal = "signal", PressureMode::Process = "process");
