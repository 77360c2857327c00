//! What several test files share: small configs, seeds, and children of the test binary itself.
#![allow(dead_code, missing_docs)]

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use ng_blackbox::RecorderConfig;

pub fn config(lanes: u32, events_per_lane: u32) -> RecorderConfig {
    let mut config = RecorderConfig::default();
    config.lanes = lanes;
    config.events_per_lane = events_per_lane;
    config
}

/// From NG_SEED, or new; written to stderr, which the test harness shows if the test fails.
#[allow(clippy::print_stderr)]
pub fn rng() -> fastrand::Rng {
    let given = env::var("NG_SEED").ok().map(|seed| seed.parse().expect("NG_SEED is a number"));
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("NG_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// This test binary again, running only the test named `child`, which acts as `role` in `dir`.
pub fn child(role: &str, dir: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env("NG_CHILD_ROLE", role).env("NG_CHILD_DIR", dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The role and the directory, if this process is such a child.
pub fn my_role() -> Option<(String, std::path::PathBuf)> {
    Some((env::var("NG_CHILD_ROLE").ok()?, env::var_os("NG_CHILD_DIR")?.into()))
}
