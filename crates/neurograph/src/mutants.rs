//! Deliberate breakages, there only under `--cfg mutants`, where NG_MUTANT names the one that is on.
//! `mutants.toml` says of each what it breaks and which test must go red; `cargo xtask mutants` tries them all.

/// Is the breakage `name` on?
#[cfg(mutants)]
pub(crate) fn on(name: &str) -> bool {
    static ON: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    ON.get_or_init(|| std::env::var("NG_MUTANT").ok()).as_deref() == Some(name)
}

/// Is the breakage `name` on? Never, in a build without them.
#[cfg(not(mutants))]
#[inline(always)]
pub(crate) const fn on(_name: &str) -> bool {
    false
}
