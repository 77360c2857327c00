//! Random settings: the table takes what the rooms take, settings survive their own file, and no text brings the reader
//! down. Each test prints its seed and takes it from `NG_SEED`.

use super::error::Origin;
use super::settings::{SETTINGS, Setting};
use super::value::{Kind, Step, Value};
use super::{Config, ConfigError};
use fastrand::Rng;
use std::panic::catch_unwind;
use std::time::Duration;

#[allow(clippy::print_stdout)] // the seed of a failed run
fn seeded() -> Rng {
    let given = std::env::var("NG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("NG_SEED={seed}");
    Rng::with_seed(seed)
}

fn one_of<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())]
}

/// Often at a bound or just beyond it, of the setting's kind or close to it; a code's field can hold it, or it is set to
/// something that it can.
fn value(rng: &mut Rng, kind: &Kind) -> Value {
    match *kind {
        Kind::Switch => Value::Switch(rng.bool()),
        Kind::Whole { none: Some(_), .. } if rng.u8(..8) == 0 => Value::Whole(None),
        Kind::Whole { least, most, step, .. } => {
            let number = match rng.u8(..8) {
                0 => least,
                1 => most,
                2 => least.saturating_sub(1),
                3 => most.saturating_add(1),
                4 => rng.u64(..),
                5 => 1 << rng.u8(..64),
                _ => {
                    let width = 1 << rng.u8(1..63);
                    rng.u64(least..=most.min(least.saturating_add(width)))
                }
            };
            let number = match step {
                Step::Any => number,
                Step::PowerOfTwo if rng.bool() => 1 << number.checked_ilog2().unwrap_or(0),
                Step::Multiple(of) if rng.bool() => number / of * of,
                _ => number,
            };
            Value::Whole(Some(number))
        }
        Kind::Share { least, most, .. } => {
            let odd = [0.0, -0.0, 1e-300, 2.0, -1.0, f64::NAN, f64::INFINITY, least, most];
            let near = [least / 2.0, least * 1.5, most * 1.0001, 0.7, 0.8];
            let drawn = rng.f64();
            let kinds = [one_of(rng, &odd), one_of(rng, &near), drawn, drawn.powi(9)];
            Value::Share(one_of(rng, &kinds))
        }
        Kind::Time { none: Some(_), .. } if rng.u8(..8) == 0 => Value::Time(None),
        Kind::Time { least, most, .. } => {
            let ns = Duration::from_nanos(1);
            let drawn = Duration::from_nanos(rng.u64(..) >> rng.u8(..64));
            let near = [least, most, least.saturating_sub(ns), most.saturating_add(ns), drawn];
            Value::Time(Some(one_of(rng, &near)))
        }
        Kind::Choice(words) => Value::Word(one_of(rng, words)),
        Kind::Path { optional: true } if rng.bool() => Value::Path(None),
        Kind::Path { .. } => Value::Path(Some(
            one_of(rng, &["/", "/a b", "C:\\x", "\"\u{e4}\u{7f}\n'", "off"]).into(),
        )),
    }
}

/// Some settings changed, one after the other; each change that makes the whole unusable is taken back.
fn valid(rng: &mut Rng) -> Config {
    let mut config = Config::default();
    for _ in 0..rng.usize(..2 * SETTINGS.len()) {
        let setting = &SETTINGS[rng.usize(..SETTINGS.len())];
        let before = setting.value(&config);
        setting.set(&mut config, value(rng, setting.kind()));
        if config.validate().is_err() {
            setting.set(&mut config, before);
        }
    }
    config
}

#[test]
fn the_table_takes_exactly_what_the_rooms_take() {
    let mut rng = seeded();
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..2_000 {
        let mut config = valid(&mut rng);
        for _ in 0..rng.u8(1..4) {
            let setting = &SETTINGS[rng.usize(..SETTINGS.len())];
            // What the table alone knows: paths, and a reserve beyond any disk, at which the log's sum would overflow.
            if setting.name() != "wal.reserved_bytes" {
                setting.set(&mut config, value(&mut rng, setting.kind()));
            }
        }
        let slots_below_quota = match (config.token_quota(), config.arena.max_slots) {
            (Some(quota), Some(slots)) => slots < quota,
            _ => false,
        };
        let rooms = config.checked_by_the_rooms();
        let table = config.validate();
        let blackbox = &config.blackbox;
        let dump_without_hook = blackbox.dump_dir.is_some() && !blackbox.panic_hook;
        let alike = table.is_ok() == (rooms.is_ok() && !slots_below_quota && !dump_without_hook);
        assert!(alike, "the table: {table:?}\nthe rooms: {rooms:?}\n{}", config.to_toml());
        if let Err(error) = table {
            refused += 1;
            // In the table's words, not in the rooms'.
            let theirs = rooms.err().map(|error| error.to_string());
            assert!(error.problems().iter().all(told_by_the_table), "{error}");
            assert_ne!(theirs, Some(error.to_string()));
        } else {
            taken += 1;
        }
    }
    assert!(taken > 200 && refused > 200, "{taken} taken, {refused} refused");
}

fn told_by_the_table(problem: &super::Problem) -> bool {
    SETTINGS.iter().any(|setting| setting.name() == problem.name)
        && problem.origin == Origin::Code
        && !problem.expected.is_empty()
}

#[test]
fn each_bound_of_the_table_is_the_rooms_own() {
    // Each alone, with everything else at its default; where a relation binds earlier than the range, that is the bound.
    for setting in SETTINGS.iter().filter(|setting| setting.name() != "wal.reserved_bytes") {
        let Kind::Whole { least, most, step, .. } = *setting.kind() else { continue };
        let span = if let Step::Multiple(of) = step { of } else { 1 };
        let beyond = [least.checked_sub(span), most.checked_add(span)];
        for number in [Some(least), Some(most)].into_iter().chain(beyond).flatten() {
            let mut config = Config::default();
            setting.set(&mut config, Value::Whole(Some(number)));
            let held = setting.value(&config) == Value::Whole(Some(number));
            let inside = (least..=most).contains(&number);
            let rooms = config.checked_by_the_rooms().is_ok();
            assert!(inside || !held || !rooms, "{} takes {number}", setting.name());
            let by_range = setting.kind().takes(&Value::Whole(Some(number)));
            let by_rule = by_range && config.validate().is_err();
            assert!(!inside || rooms || by_rule, "{} refuses {number}", setting.name());
        }
    }
}

#[test]
fn settings_survive_their_own_file() {
    let mut rng = seeded();
    for _ in 0..300 {
        let config = valid(&mut rng);
        let text = config.to_toml();
        let (again, warnings) =
            Config::from_toml_with_warnings(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(warnings, []);
        for setting in SETTINGS {
            assert_eq!(setting.value(&again), setting.value(&config), "{}\n{text}", setting.name());
        }
    }
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_unicode_is_told_and_the_rest_survives() {
    use std::os::unix::ffi::OsStringExt;
    let mut config = Config::default();
    let path = std::ffi::OsString::from_vec(vec![b'/', 0xff]);
    config.blackbox.dump_dir = Some(path.into());
    config.wal.sync_records = 5;
    config.validate().unwrap();
    let text = config.to_toml();
    assert!(text.contains("# dump_dir: the path is not Unicode\n"), "{text}");
    assert_eq!(Config::from_toml(&text).unwrap().wal.sync_records, 5);
}

/// A text from the table's names and values that may or may not fit, in all of TOML's shapes, and some that are none.
fn text(rng: &mut Rng) -> String {
    let mut text =
        String::from(one_of(rng, &["", "\u{feff}", "version = 1\n", "version = 0x1\r\n"]));
    for _ in 0..rng.u8(..12) {
        let name = SETTINGS[rng.usize(..SETTINGS.len())].name();
        let other: &Setting = &SETTINGS[rng.usize(..SETTINGS.len())];
        let (section, key) = name.rsplit_once('.').unwrap_or(("", name));
        let own = value(rng, other.kind());
        let value = match rng.u8(..12) {
            0..6 => other.kind().write(&own).unwrap_or_default(),
            6 => "{ a = 1 }".into(),
            7 => "[1, \"\u{e4}\"]".into(),
            8 => "1979-05-27T07:32:00Z".into(),
            9 => format!("{}", rng.i128(..)),
            10 => one_of(rng, &["", "inf", "'''a\nb'''", "\"\\u00e4\"", "0b1", "1e999", "true"])
                .into(),
            _ => one_of(rng, &["=", "\"", "[", "{", "\u{0}", "\\", "1.2.3", "\"\"\"", "0x"]).into(),
        };
        let line = match rng.u8(..12) {
            0..4 => format!("{name} = {value}"),
            4..6 => format!("[{section}]\n{key} = {value}"),
            6 => format!("[[{section}]]\n{key} = {value}"),
            7 => format!("[{name}]\n{key} = {value}"),
            8 => format!("{section} = {{ {key} = {value} }}"),
            9 => format!("\"{name}\" = {value} # \u{1f980}"),
            10 => format!("{name}.{key} = {value}"),
            _ => format!("[{section}]\n  {key}s = {value}"),
        };
        text += &line;
        text += one_of(rng, &["\n", "\r\n", "\n\n", " ", "\r"]);
    }
    while rng.u8(..3) == 0 && !text.is_empty() {
        let at = rng.usize(..text.len());
        if text.is_char_boundary(at) {
            match rng.u8(..3) {
                0 => text.truncate(at),
                1 => text.insert(at, rng.char(..)),
                _ => drop(text.remove(at)),
            }
        }
    }
    text
}

#[test]
fn no_text_brings_the_reader_down_and_each_of_its_problems_has_a_place() {
    let mut rng = seeded();
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..5_000 {
        let text = text(&mut rng);
        let read = catch_unwind(|| Config::from_toml(&text));
        match read.unwrap_or_else(|_| panic!("{text:?}")) {
            Ok(config) => {
                config.validate().unwrap();
                taken += 1;
            }
            Err(error) => {
                refused += 1;
                has_places(&text, &error);
            }
        }
    }
    assert!(taken > 200 && refused > 200, "{taken} taken, {refused} refused");
}

fn has_places(text: &str, error: &ConfigError) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<_> = text.split('\n').collect();
    assert!(!error.problems().is_empty());
    for problem in error.problems() {
        let Origin::Toml { line, column } = problem.origin else {
            panic!("{problem} has no place in {text:?}");
        };
        let there = lines.get(line - 1).unwrap_or_else(|| panic!("{problem} in {text:?}"));
        assert!(column <= there.chars().count() + 1, "{problem} in {text:?}");
    }
}
