//! Settings as a file that reads back to the same settings.

use super::Config;
use super::settings::SETTINGS;
use std::fmt::Write;

impl Config {
    /// All settings with their present values as a settings file, each with what it is, its unit, range and default.
    /// [`Config::from_toml`] makes the same settings of it.
    ///
    /// Left out: `blackbox.kinds`, whose names a program holds; and a path that is not Unicode, which TOML cannot hold: a
    /// comment stands in its place.
    pub fn to_toml(&self) -> String {
        let mut text = String::from("version = 1\n");
        // Writing to a string cannot fail.
        let mut line = |written: std::fmt::Arguments<'_>| {
            let _written = text.write_fmt(written);
        };
        let mut open = "";
        for setting in SETTINGS {
            let (section, key) = setting.name().rsplit_once('.').unwrap_or(("", setting.name()));
            if section != open {
                line(format_args!("\n[{section}]\n"));
                open = section;
            }
            line(format_args!("# {}\n# ", setting.doc()));
            if !setting.unit().is_empty() {
                line(format_args!("Unit: {}. ", setting.unit()));
            }
            line(format_args!("Range: {}. Default: {}.\n", setting.range(), setting.default()));
            match setting.get(self) {
                Some(value) => line(format_args!("{key} = {value}\n")),
                None => line(format_args!("# {key}: the path is not Unicode\n")),
            }
        }
        text
    }
}
