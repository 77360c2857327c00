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

/// Takes time for each of `slots` creates to come, where the part that NG_SLOWED names is on: as many picoseconds as
/// NG_SLOWED_PS says. Taken at a lease, since a clock can't measure the part of one create, and work inside of one would hide
/// in its latency. `cargo xtask slowed` tries each part; metrics can't be off.
#[cfg(mutants)]
pub(crate) fn slow_down(inner: &crate::inner::Inner, slots: u32) {
    use std::time::{Duration, Instant};
    static SLOWED: std::sync::OnceLock<Option<(String, u64)>> = std::sync::OnceLock::new();
    let begin = Instant::now();
    let asked = || {
        let ps = std::env::var("NG_SLOWED_PS").ok()?.parse().ok()?;
        Some((std::env::var("NG_SLOWED").ok()?, ps))
    };
    let Some((part, ps)) = SLOWED.get_or_init(asked) else { return };
    let is_on = match part.as_str() {
        "guardian" => inner.guardian.config().max_tokens.is_some(),
        "wal" => inner.log.is_some(),
        "trace" => inner.tracing.is_some(),
        "metrics" => true,
        "blackbox" => inner.blackbox.is_some(),
        _ => false,
    };
    let takes = Duration::from_nanos(u64::from(slots) * ps / 1000);
    while is_on && begin.elapsed() < takes {
        std::hint::spin_loop();
    }
}

/// Nothing, in a build without breakages.
#[cfg(not(mutants))]
#[inline(always)]
pub(crate) const fn slow_down(_inner: &crate::inner::Inner, _slots: u32) {}
