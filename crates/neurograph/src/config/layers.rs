//! Layers of settings: defaults, then files, then the environment, then code. Each overrides what it names and no
//! more; which layer named what is remembered.

use super::error::{ConfigError, Origin, Problem, Warning};
use super::read::{Reading, read};
use super::settings::{SETTINGS, Setting, setting};
use super::value::{Value, quoted};
use super::{Config, rules};
use std::ffi::OsString;

/// Which layer a setting's present value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// Nobody named it.
    Default,
    /// [`Config::merge_toml`].
    Toml,
    /// [`Config::merge_env`].
    Environment,
    /// A field was assigned. Code that assigns the very value that is there already leaves no trace.
    Code,
}

/// What files and the environment named, with the values they gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers(Vec<Named>);

#[derive(Clone, Debug)]
struct Named {
    name: &'static str,
    value: Value,
    origin: Origin,
}

impl Layers {
    fn put(&mut self, name: &'static str, value: Value, origin: Origin) {
        self.0.retain(|named| named.name != name);
        self.0.push(Named { name, value, origin });
    }

    /// Where the present value was written. Code, if it is not the one that a layer gave.
    pub(super) fn origin(&self, config: &Config, name: &str) -> Origin {
        let value = setting(name).map(|setting| setting.value(config));
        let named =
            self.0.iter().find(|named| named.name == name && Some(&named.value) == value.as_ref());
        named.map_or(Origin::Code, |named| named.origin)
    }

    fn source(&self, config: &Config, setting: &Setting) -> Source {
        let of_code = || match setting.value(config) == setting.value(&Config::default()) {
            // A layer named it, and code has set it back.
            true if self.0.iter().any(|named| named.name == setting.name()) => Source::Code,
            true => Source::Default,
            false => Source::Code,
        };
        match self.origin(config, setting.name()) {
            Origin::Code => of_code(),
            Origin::Toml { .. } => Source::Toml,
            Origin::Environment(_) => Source::Environment,
        }
    }

    /// Later layers are higher, and in a file what stands further down.
    pub(super) fn rank(&self, config: &Config, name: &str) -> (u8, usize, usize) {
        let source = setting(name).map_or(Source::Default, |setting| self.source(config, setting));
        match (source, self.origin(config, name)) {
            (_, Origin::Toml { line, column }) => (1, line, column),
            (_, Origin::Environment(_)) => (2, 0, 0),
            (Source::Default, Origin::Code) => (0, 0, 0),
            (_, Origin::Code) => (3, 0, 0),
        }
    }
}

impl Config {
    /// The default settings with those of a TOML text in place of them, checked as a whole.
    ///
    /// The text has the names of [`SETTINGS`], in tables or as dotted keys; docs/SETTINGS.md lists them. `version = 1`
    /// may stand before them. Times are text with a unit, `"100ms"`; a limit is a number or `"unlimited"`. Keys that
    /// earlier versions knew are passed over: [`Config::from_toml_with_warnings`] tells of them.
    ///
    /// Errors: all that is wrong, each with line and column.
    pub fn from_toml(text: &str) -> Result<Config, ConfigError> {
        Config::from_toml_with_warnings(text).map(|(config, _)| config)
    }

    /// As [`Config::from_toml`], with what has no effect in it.
    pub fn from_toml_with_warnings(text: &str) -> Result<(Config, Vec<Warning>), ConfigError> {
        let mut config = Config::default();
        let reading = read(text);
        config.apply(&reading);
        let mut problems = reading.problems;
        problems.extend(config.problems(&|name| reading.bad.contains(&name)));
        ConfigError::check(problems, reading.more)?;
        Ok((config, reading.warnings))
    }

    /// The default settings with those of the environment in place of them, see [`Config::merge_env`], checked as a
    /// whole.
    pub fn from_env() -> Result<Config, ConfigError> {
        let mut config = Config::default();
        config.merge_env()?;
        config.validate()?;
        Ok(config)
    }

    /// Puts the settings that a TOML text names in place of those here, and leaves all others. Returns what has no
    /// effect in it.
    ///
    /// What settings demand of each other is not checked here, since a later layer may keep it: [`Config::validate`]
    /// does, and opening a store. Its messages tell the line and column of the last text that named a setting.
    ///
    /// Errors: all that is wrong in the text, each with line and column; nothing has changed then.
    ///
    /// ```
    /// # use neurograph::Config;
    /// let mut config = Config::default();
    /// for warning in config.merge_toml("[guardian]\nmax_tokens = 1_000\n[wal]\ndurability = \"strict\"")? {
    ///     eprintln!("{warning}");
    /// }
    /// config.merge_env()?; // NEUROGRAPH_MAX_TOKENS, if it is set, is stronger than the text
    /// config.blackbox.panic_hook = false;
    /// config.validate()?;
    /// # Ok::<(), neurograph::ConfigError>(())
    /// ```
    pub fn merge_toml(&mut self, text: &str) -> Result<Vec<Warning>, ConfigError> {
        let reading = read(text);
        if reading.problems.is_empty() {
            self.apply(&reading);
        }
        ConfigError::check(reading.problems, reading.more)?;
        Ok(reading.warnings)
    }

    /// Puts NEUROGRAPH_MAX_TOKENS and NEUROGRAPH_MAX_MEMORY_BYTES of the environment, where set, in place of
    /// `guardian.max_tokens` and `guardian.max_memory_bytes`: a whole number, or `unlimited`.
    ///
    /// Nothing else reads the environment; a program calls this where it wants it read.
    ///
    /// Errors: all variables that are set and neither of the two; nothing has changed then.
    pub fn merge_env(&mut self) -> Result<(), ConfigError> {
        self.merge_variables(|name| std::env::var_os(name))
    }

    fn merge_variables(
        &mut self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(), ConfigError> {
        let (mut values, mut problems) = (Vec::new(), Vec::new());
        for setting in SETTINGS {
            let Some(name) = setting.variable() else { continue };
            let Some(given) = variable(name) else { continue };
            let text = given.to_string_lossy();
            match setting.kind().read_text(&text) {
                Some(value) => values.push((setting, value, Origin::Environment(name))),
                None => {
                    let (origin, expected) = (Origin::Environment(name), setting.kind().expected());
                    let value = quoted(&super::read::shortened(&text));
                    problems.push(Problem::value(origin, setting.name(), value, expected));
                }
            }
        }
        ConfigError::check(problems, 0)?;
        self.put(&values);
        Ok(())
    }

    fn apply(&mut self, reading: &Reading) {
        self.put(&reading.values);
    }

    fn put(&mut self, values: &[(&'static Setting, Value, Origin)]) {
        for (setting, value, origin) in values {
            setting.set(self, value.clone());
            self.layers.put(setting.name(), value.clone(), *origin);
        }
    }

    pub(super) fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Which layer the present value of a setting comes from; `None` for a name that is not in [`SETTINGS`].
    pub fn source(&self, name: &str) -> Option<Source> {
        setting(name).map(|setting| self.layers.source(self, setting))
    }

    /// The settings that a file, the environment or code named, defaults left out.
    pub fn named(&self) -> impl Iterator<Item = (&'static Setting, Source)> {
        let sources = SETTINGS.iter().map(|setting| (setting, self.layers.source(self, setting)));
        sources.filter(|(_, source)| *source != Source::Default)
    }

    /// Checks each setting and what they demand of each other.
    ///
    /// Errors: all that is wrong, in the words of [`SETTINGS`], with line and column where a file said it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::check(self.problems(&|_| false), 0)
    }

    /// What is wrong with the settings that are not `bad`, of which something was said already.
    fn problems(&self, bad: &dyn Fn(&str) -> bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        for setting in SETTINGS.iter().filter(|setting| !bad(setting.name())) {
            let value = setting.value(self);
            if !setting.kind().takes(&value) {
                let origin = self.layers.origin(self, setting.name());
                let given = setting.get(self).unwrap_or_default();
                let expected = setting.kind().expected_of(&value);
                problems.push(Problem::value(origin, setting.name(), given, expected));
            }
        }
        let wrong: Vec<_> = problems.iter().map(|problem| problem.name.clone()).collect();
        let bad_too = |name: &str| bad(name) || wrong.iter().any(|wrong| wrong == name);
        problems.extend(rules::broken(self, &bad_too));
        if problems.is_empty()
            && !SETTINGS.iter().any(|setting| bad(setting.name()))
            && let Err(error) = self.checked_by_the_rooms()
        {
            problems = error.into_problems();
        }
        problems
    }

    /// The rooms check what they are given too. The table has their ranges: a test holds them together.
    pub(super) fn checked_by_the_rooms(&self) -> Result<(), ConfigError> {
        self.arena_config(0).validate()?;
        self.guardian.validate()?;
        self.wal_config().validate()?;
        self.trace.sampler.validate()?;
        self.trace.collector.validate()?;
        self.blackbox.recorder.validate()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        let find = |name: &str| variables.iter().find(|(given, _)| *given == name);
        config.merge_variables(|name| find(name).map(|(_, value)| OsString::from(value)))?;
        Ok(config)
    }

    #[test]
    fn the_environment_gives_numbers_or_unlimited() {
        let config = with(&[("NEUROGRAPH_MAX_TOKENS", "12_000"), ("NEUROGRAPH_MAX_BYTES", "x")]);
        assert_eq!(config.unwrap().guardian.max_tokens, Some(12_000));
        let config = with(&[("NEUROGRAPH_MAX_MEMORY_BYTES", "unlimited")]).unwrap();
        assert_eq!(config.guardian.max_memory_bytes, None);
        assert_eq!(config.source("guardian.max_memory_bytes"), Some(Source::Environment));
    }

    #[test]
    fn all_variables_that_cannot_be_used_are_named_with_their_values() {
        for bad in ["-1", "", "+5", "_", " 5", "5 ", "1e3", "18446744073709551616", "Unlimited"] {
            let variables = [("NEUROGRAPH_MAX_TOKENS", bad), ("NEUROGRAPH_MAX_MEMORY_BYTES", bad)];
            let said = with(&variables).unwrap_err().to_string();
            let expected = format!(
                "environment variable NEUROGRAPH_MAX_TOKENS: guardian.max_tokens is {bad:?}; it must \
                 be a whole number from 0 to 18446744073709551615 or \"unlimited\""
            );
            assert_eq!(said.lines().next(), Some(expected.as_str()));
            assert_eq!(said.lines().count(), 2, "{said}");
        }
    }
}
