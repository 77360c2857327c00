//! Pulses turn use and the kernel's figures into levels, over a tree of files made for the test.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use ng_guardian::{
    Cause, CleanupGoal, Guardian, GuardianConfig, GuardianStats, Level, Limits, PressureMode,
    Refusal, Source, Woken,
};
use tempfile::TempDir;

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
    fs::write(path, text).expect("a file");
}

/// A machine whose cgroup allows 1,000,000 bytes, of which `used` are in use.
fn cgroup_tree(used: u64) -> TempDir {
    let root = tempfile::tempdir().expect("a temporary directory");
    write(root.path(), "proc/self/cgroup", "0::/app\n");
    write(root.path(), "sys/fs/cgroup/app/memory.max", "1000000\n");
    set_used(&root, used);
    root
}

fn set_used(root: &TempDir, used: u64) {
    write(root.path(), "sys/fs/cgroup/app/memory.current", &format!("{used}\n"));
}

fn config(root: &Path) -> GuardianConfig {
    let mut config = GuardianConfig::default();
    config.max_tokens = Some(100);
    config.max_memory_bytes = Some(100);
    config.kernel_root = root.to_owned();
    config
}

fn guardian(config: GuardianConfig) -> Guardian {
    Guardian::new(config).expect("a valid config")
}

#[test]
fn use_of_credits_moves_the_level_and_each_change_is_reported_once() {
    let guardian = guardian(config(Path::new("/nonexistent")));
    let mut cell = guardian.cell();
    assert_eq!(guardian.pulse().changed, None);
    // (credits more, level then)
    let steps = [(79, Level::Normal), (1, Level::Soft), (10, Level::Hard), (10, Level::Refuse)];
    for (more, level) in steps {
        let before = guardian.level();
        assert_eq!(guardian.reserve(more).expect("room").credits, more);
        let report = guardian.pulse();
        assert_eq!((report.level, guardian.level()), (level, level));
        assert_eq!(report.changed.is_some(), before != level);
        if let Some(change) = report.changed {
            assert_eq!((change.from, change.to, change.reason), (before, level, Cause::Tokens));
            let used = guardian.stats().tokens_used;
            assert_eq!((change.used, change.limit), (used, 100));
            assert_eq!(change.share, used as f64 / 100.0);
        }
        assert_eq!(guardian.pulse().changed, None);
    }
    cell.release(5); // 0.95: the pulse finds it in the cell; still within the margin
    assert_eq!(guardian.pulse().level, Level::Refuse);
    cell.release(1);
    assert_eq!(guardian.pulse().level, Level::Hard);
    cell.release(94);
    let change = guardian.pulse().changed.expect("a change");
    assert_eq!((change.to, change.share), (Level::Normal, 0.0));
    assert_eq!(guardian.stats().level_changes_total, 5);
}

#[test]
fn committed_bytes_move_the_level_too() {
    let guardian = guardian(config(Path::new("/nonexistent")));
    guardian.commit(85).expect("room");
    let change = guardian.pulse().changed.expect("a change");
    assert_eq!((change.to, change.reason, change.share), (Level::Soft, Cause::Memory, 0.85));
    guardian.set_limits(Limits { max_tokens: None, max_memory_bytes: None });
    assert_eq!(guardian.pulse().level, Level::Normal);
}

#[test]
fn as_a_signal_the_cgroup_raises_the_level_and_refuses_nothing() {
    let root = cgroup_tree(1_000_000);
    let guardian = guardian(config(root.path()));
    let report = guardian.pulse();
    let change = report.changed.expect("a change");
    assert_eq!((change.to, change.reason, change.share), (Level::Hard, Cause::Cgroup, 1.0));
    assert!(!report.cleanup_due, "nothing of ours to evict");
    assert_eq!(guardian.commit(100), Ok(()));
    assert!(guardian.reserve(1).is_ok());

    set_used(&root, 100_000);
    let stats_before = guardian.stats();
    assert_eq!(guardian.level(), Level::Hard); // until the next pulse
    guardian.uncommit(100);
    assert_eq!(guardian.pulse().level, Level::Normal);
    let stats = guardian.stats();
    let cgroup = stats.reading.and_then(|reading| reading.cgroup).expect("a figure");
    assert_eq!((cgroup.source, cgroup.used_bytes), (Source::CgroupV2, 100_000));
    assert_eq!(cgroup.limit_bytes, Some(1_000_000));
    assert_eq!(stats.pulses_total, stats_before.pulses_total + 1);
    let at = |stats: &GuardianStats| stats.reading.map(|reading| reading.at);
    assert!(at(&stats) > at(&stats_before));
    assert!(stats.reading_age < Duration::from_secs(600));
}

#[test]
fn in_process_mode_commits_are_refused_beyond_the_budget_of_the_last_reading() {
    let root = cgroup_tree(900_000);
    let mut config = config(root.path());
    config.max_memory_bytes = Some(10_000_000);
    config.pressure = PressureMode::Process;
    let guardian = guardian(config);
    assert_eq!(guardian.commit(60_000), Ok(()));
    let refused = Refusal::Pressure {
        reported_by: Source::CgroupV2,
        limit_bytes: 1_000_000,
        used_bytes: 900_000,
        budget_bytes: 40_000,
        requested_bytes: 40_001,
    };
    assert_eq!(guardian.commit(40_001), Err(refused));
    assert_eq!(guardian.commit(40_000), Ok(()));
    assert!(guardian.commit(1).is_err());

    set_used(&root, 500_000);
    guardian.pulse();
    assert_eq!(guardian.commit(500_000), Ok(()));
    set_used(&root, 1_000_000);
    assert_eq!(guardian.pulse().level, Level::Refuse);
    assert!(matches!(guardian.commit(1), Err(Refusal::Pressure { budget_bytes: 0, .. })));

    let stats = guardian.stats();
    assert_eq!((stats.refusals_pressure_total, stats.refusals_memory_total), (3, 0));
    assert_eq!(stats.committed_bytes, 600_000);
}

#[test]
fn a_commit_that_the_quota_refuses_leaves_the_budget_whole() {
    let root = cgroup_tree(400_000);
    let mut config = config(root.path());
    config.max_memory_bytes = Some(500_000);
    config.pressure = PressureMode::Process;
    let guardian = guardian(config);
    assert!(matches!(guardian.commit(500_001), Err(Refusal::MemoryExceeded { .. })));
    assert_eq!(guardian.commit(500_000), Ok(()));
}

#[test]
fn in_process_mode_the_whole_process_is_held_against_the_memory_limit() {
    let root = tempfile::tempdir().expect("a temporary directory");
    write(root.path(), "proc/self/statm", "9 3 0 0 0 0 0\n");
    let mut config = config(root.path());
    config.pressure = PressureMode::Process;
    config.max_memory_bytes = Some(1);
    let guardian = guardian(config.clone());
    assert_eq!(guardian.pulse().level, Level::Refuse);
    let refusal = guardian.commit(1).expect_err("three pages are more than a byte");
    assert!(matches!(refusal, Refusal::Pressure { reported_by: Source::Process, .. }));

    // Back to a signal: the figure has no limit any more, and the quota alone decides.
    config.pressure = PressureMode::Signal;
    guardian.reconfigure(config).expect("a valid config");
    assert_eq!(guardian.commit(1), Ok(()));
    assert!(matches!(guardian.commit(1), Err(Refusal::MemoryExceeded { .. })));
}

#[test]
fn time_lost_waiting_for_memory_is_a_signal() {
    let root = tempfile::tempdir().expect("a temporary directory");
    write(root.path(), "proc/pressure/memory", "some avg10=50.00 avg60=1.00 total=1\n");
    let guardian = guardian(config(root.path()));
    let change = guardian.pulse().changed.expect("a change");
    assert_eq!((change.to, change.reason), (Level::Soft, Cause::Stall));
    assert_eq!((change.used, change.limit), (5_000, 6_000));
    let stall = guardian.stats().reading.and_then(|reading| reading.stall).expect("a figure");
    assert_eq!((stall.source, stall.percent), (Source::MachineStall, 50.0));

    // Switched off, it is neither read nor a reason any more.
    let mut config = guardian.config();
    config.pressure_sources.stall = false;
    guardian.reconfigure(config).expect("a valid config");
    assert_eq!(guardian.pulse().level, Level::Normal);
    assert_eq!(guardian.stats().reading.and_then(|reading| reading.stall), None);
}

#[test]
fn near_the_limit_a_writer_cleans_up_first_and_at_most_once_a_pulse() {
    struct Nothing;
    impl ng_guardian::Population for Nothing {
        fn member_bytes(&self) -> u64 {
            64
        }
        fn scan(
            &self,
            _: ng_guardian::CleanupPolicy,
            _: &mut dyn FnMut(ng_guardian::Candidate) -> std::ops::ControlFlow<()>,
        ) {
        }
        fn evict(
            &self,
            _: ng_guardian::Cut,
            _: ng_guardian::Position,
            _: u32,
        ) -> ng_guardian::Evicted {
            ng_guardian::Evicted::default()
        }
    }
    let guardian = guardian(config(Path::new("/nonexistent")));
    assert_eq!(guardian.reserve(85).expect("room").credits, 85);
    assert_eq!(guardian.pulse().level, Level::Soft);
    assert!(!guardian.cleanup_before_admission(), "soft: the background does it");
    assert_eq!(guardian.reserve(10).expect("room").credits, 10);
    assert!(!guardian.cleanup_before_admission(), "the level is the last pulse's");
    guardian.pulse();
    assert!(guardian.cleanup_before_admission());
    assert_eq!(guardian.cleanup(&Nothing, CleanupGoal::LowWater, &|| false).evicted, 0);
    assert!(!guardian.cleanup_before_admission(), "one was in vain");
    guardian.pulse();
    assert!(guardian.cleanup_before_admission());
    guardian.release(30); // below the low-water mark; the level is still the last pulse's
    assert_eq!(guardian.level(), Level::Hard);
    assert!(!guardian.cleanup_before_admission(), "nothing to evict");
}

#[test]
fn a_bad_config_is_refused_and_leaves_the_old_one_in_force() {
    let guardian = guardian(config(Path::new("/nonexistent")));
    let mut bad = guardian.config();
    bad.max_tokens = Some(1);
    bad.low_water = 0.9;
    let error = guardian.reconfigure(bad).expect_err("low_water above memory_threshold");
    assert!(error.to_string().starts_with("low_water is 0.9, allowed is"), "{error}");
    assert_eq!(guardian.stats().max_tokens, Some(100));
}

#[test]
fn a_pulse_thread_reads_at_once_and_ends_with_its_handle() {
    let guardian = guardian(config(Path::new("/nonexistent")));
    let _granted = guardian.reserve(90).expect("room");
    let pulse = guardian.start_pulse(Duration::from_millis(1)).expect("a thread");
    while guardian.level() != Level::Hard {
        std::thread::yield_now();
    }
    drop(pulse); // waits for the thread: no pulse after it
    let pulses = guardian.stats().pulses_total;
    guardian.pulse();
    assert_eq!(guardian.stats().pulses_total, pulses + 1);
}

#[test]
fn an_observer_hears_of_each_change_and_its_panic_ends_no_pulse() {
    let guardian = guardian(config(Path::new("/nonexistent")));
    let (tell, heard) = mpsc::channel();
    let observe = move |report: &ng_guardian::PulseReport| {
        let Some(change) = report.changed else { return };
        tell.send((change.from, change.to)).expect("the test listens");
        if change.to == Level::Refuse {
            std::panic::resume_unwind(Box::new("an observer's bug")); // no message on the terminal
        }
    };
    let pulse = guardian.start_pulse_with(Duration::from_millis(1), observe).expect("a thread");
    let _ninety = guardian.reserve(90).expect("room");
    assert_eq!(heard.recv(), Ok((Level::Normal, Level::Hard)));
    let _rest = guardian.reserve(10).expect("room");
    assert_eq!(heard.recv(), Ok((Level::Hard, Level::Refuse)));
    assert!(heard.recv().is_err(), "the observer is gone");
    guardian.release(100);
    while guardian.level() != Level::Normal {
        std::thread::yield_now();
    }
    drop(pulse);
}

#[test]
fn an_alarm_rings_after_the_interval_and_at_once_when_stopped() {
    let guardian = guardian(config(Path::new("/nonexistent")));
    let alarm = guardian.alarm().expect("a descriptor");
    assert_eq!(alarm.watches(), None);
    assert_eq!(alarm.wait(Duration::ZERO), Woken::Interval);
    assert_eq!(alarm.wait(Duration::from_millis(1)), Woken::Interval);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| alarm.wait(Duration::MAX));
        alarm.stop();
        assert_eq!(waiting.join().expect("no panic"), Woken::Stopped);
    });
    alarm.stop();
    assert!(alarm.is_stopped());
    assert_eq!(alarm.wait(Duration::from_secs(3_600)), Woken::Stopped);
}

#[test]
fn a_copy_of_the_kernels_file_is_no_alarm_and_is_left_as_it_is() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let text = "some avg10=1.00 avg60=1.00 total=1\n";
    write(root.path(), "proc/pressure/memory", text);
    let guardian = guardian(config(root.path()));
    let alarm = guardian.alarm().expect("a descriptor");
    assert_eq!(alarm.watches(), None);
    let now = fs::read_to_string(root.path().join("proc/pressure/memory")).expect("a file");
    assert_eq!(now, text);
}
