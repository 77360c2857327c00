//! Disks that are slow, lie after an error, write short, or are full; with every crash of each.

use std::time::{Duration, Instant};

use ng_wal::sim::{CrashPlan, FailedSync, SimDisk, recover};
use ng_wal::{Health, OpenError, Wal};

use crate::oracle::Looking;
use crate::seed;
use crate::tally::Tally;
use crate::world::{DURABLE, LIMIT, LOG, Op, World, config};

/// Ends the story and judges every crash of it.
fn judge(mut world: World, seed: u64) {
    world.finish();
    let tally = Tally::default();
    let looking = Looking {
        schedule: "faults",
        tally: &tally,
        plan: CrashPlan { images_max: 120, seed },
        again_each: 4,
        second_each: 16,
        only: None,
        config: world.config.clone(),
    };
    for leg in &world.legs {
        good(looking.look(leg, &world.lives));
    }
}

fn good(told: Result<(), String>) {
    if let Err(reason) = told {
        panic!("{reason}");
    }
}

fn run(world: &mut World, ops: &[Op]) {
    good(world.run(ops));
}

fn until(what: &str, come: impl Fn() -> bool) {
    let begun = Instant::now();
    while !come() {
        assert!(begun.elapsed() < LIMIT, "{what} did not come");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_written_while_a_sync_runs_is_not_acknowledged_by_it() {
    let seed = seed();
    let mut world = World::new(seed, config());
    run(&mut world, &[Op::Append, Op::Batch]);
    let disk = world.disk.clone();
    disk.hold_syncs(true);
    let next = world.log().unwrap().last_lsn().get() + 1;
    let entry = world.add_entry(next, (next, next));
    let last = ng_wal::Lsn::new(next - 1);
    std::thread::scope(|scope| {
        let wal: &Wal = world.log().unwrap();
        let waiting = scope.spawn(move || wal.wait_durable(last, LIMIT));
        assert!(disk.until_held(LIMIT));
        // Before the sync has returned nothing is durable, whatever the mark says.
        disk.mark(DURABLE, wal.durable_lsn().get());
        let writes = disk.writes();
        let more = wal.append(entry.kind, &entry.payload).unwrap();
        // A log that writes on meanwhile does so now; one that does not has nothing to be wrong.
        disk.until_writes(writes + 1, Duration::from_millis(200));
        disk.hold_syncs(false);
        waiting.join().unwrap().unwrap();
        disk.mark(DURABLE, wal.durable_lsn().get());
        assert_eq!(more, last.next());
    });
    judge(world, seed);
}

#[test]
fn after_a_failed_sync_nothing_more_is_acknowledged_and_nothing_is_written() {
    let seed = seed();
    for how in [FailedSync::KeepsCache, FailedSync::Reverts] {
        for n in 1..=2 {
            // One segment takes it all, and the next is ready: else it may be the janitor who meets the
            // failure, or writes a file of its own after it.
            let mut roomy = config();
            roomy.segment_bytes = 64 << 10;
            let mut world = World::new(seed ^ n, roomy);
            run(&mut world, &[Op::Append, Op::Sync, Op::Batch, Op::Append]);
            let disk = world.disk.clone();
            let segments = || disk.image().names(LOG).into_iter().filter(|n| n.ends_with(".seg"));
            until("a segment for later", || segments().count() > 1);
            let durable = world.log().unwrap().durable_lsn();
            disk.fail_sync(n, how);
            let mut failed = false;
            for _ in 0..n + 1 {
                match world.sync() {
                    Ok(()) => {
                        assert!(!failed, "O9: a sync returned Ok after one had failed");
                        failed |= world.run(&[Op::Append]).is_err();
                    }
                    Err(_) => failed = true,
                }
            }
            let wal = world.log().unwrap();
            // The mark is wrong at the latest when everything is said to be durable.
            disk.mark(DURABLE, wal.durable_lsn().get());
            if failed {
                assert!(n > 1 || wal.durable_lsn() == durable, "O9: the mark moved");
                assert!(
                    matches!(wal.health(), Health::Failed(_)),
                    "O9: health is {:?}",
                    wal.health()
                );
                assert!(wal.append(1, b"late").is_err(), "O9: an append after the failure");
                let writes = disk.writes();
                let _ = wal.shut();
                assert_eq!(disk.writes(), writes, "O9: written after the failure");
                assert_eq!(disk.writes_after_failed_sync(), 0, "O9: written after the failure");
                assert!(wal.sync().is_err(), "O9: a sync after the failure");
                disk.mark(DURABLE, wal.durable_lsn().get());
            }
            judge(world, seed);
        }
    }
}

#[test]
fn an_open_after_a_failed_sync_brings_to_the_disk_what_it_gives_back() {
    let seed = seed();
    for how in [FailedSync::KeepsCache, FailedSync::Reverts] {
        let mut world = World::new(seed, config());
        run(&mut world, &[Op::Append, Op::Sync, Op::Batch, Op::Append]);
        world.disk.fail_sync(1, how);
        assert!(world.sync().is_err(), "O2: a failed sync was taken for a good one");
        // The process dies. Its successor reads pages that are clean and not on the disk.
        run(&mut world, &[Op::Reopen, Op::Append]);
        judge(world, seed);
    }
}

#[test]
fn short_and_interrupted_writes_lose_nothing() {
    let seed = seed();
    for (most, interrupt) in [(700, 0), (64, 3), (0, 2)] {
        let mut world = World::new(seed, config());
        world.disk.set_write_at_most(most);
        world.disk.interrupt_writes(interrupt);
        run(&mut world, &[Op::Batch, Op::Sync, Op::Rotate, Op::Batch, Op::Sync, Op::Close]);
        run(&mut world, &[Op::Batch, Op::Reopen, Op::Append, Op::Sync]);
        judge(world, seed);
    }
}

#[test]
fn producers_side_by_side_keep_their_order() {
    let seed = seed();
    let mut world = World::new(seed, config());
    for ops in [&[Op::Batch][..], &[Op::Reopen, Op::Sync]] {
        good(world.append_side_by_side(3, 24));
        run(&mut world, ops);
    }
    judge(world, seed);
}

#[test]
fn a_checkpoint_that_takes_its_time_retires_only_what_it_covers() {
    let seed = seed();
    let mut world = World::new(seed, config());
    run(&mut world, &[Op::Batch, Op::Rotate, Op::Batch]);
    let end = world.log().unwrap().last_lsn();
    run(&mut world, &[Op::Batch, Op::Rotate, Op::Batch, Op::Sync]);
    good(world.checkpoint_of(end));
    run(&mut world, &[Op::Append, Op::Close]);
    judge(world, seed);
}

#[test]
fn segments_that_serve_again_keep_what_is_written_into_them() {
    let seed = seed();
    let mut world = World::new(seed, config());
    run(&mut world, &[Op::Rotate, Op::Rotate, Op::Checkpoint, Op::Rotate, Op::Batch]);
    world.begin_looking();
    run(&mut world, &[Op::Sync, Op::Rotate, Op::Sync, Op::Batch]);
    assert!(world.log().unwrap().stats().segments_recycled_total > 0);
    run(&mut world, &[Op::PowerCut, Op::Append]);
    judge(world, seed);
}

#[test]
fn a_full_disk_holds_appends_up_and_loses_nothing_when_space_returns() {
    let seed = seed();
    let mut world = World::new(seed, config());
    run(&mut world, &[Op::Batch, Op::Sync]);
    world.disk.set_space(Some(300));
    good(world.append(10, false));
    let disk = world.disk.clone();
    let wal = world.log().unwrap();
    until("a full disk", || matches!(wal.health(), Health::DiskFull));
    disk.set_space(None);
    run(&mut world, &[Op::Sync, Op::Rotate, Op::Append, Op::Close, Op::Append]);
    judge(world, seed);
}

/// The next segment's file is thrown away when its sync fails, and another one takes its place: the log
/// goes on, and what is written into that one is there after each crash.
#[test]
fn a_segment_whose_file_failed_before_it_held_anything_is_made_again() {
    let seed = seed();
    for how in [FailedSync::KeepsCache, FailedSync::Reverts] {
        let mut world = World::new(seed, config());
        run(&mut world, &[Op::Close]);
        good(world.log().map(drop));
        // The next sync is that of the file that the first record waits for.
        world.disk.fail_sync(1, how);
        run(&mut world, &[Op::Append, Op::Rotate, Op::Batch, Op::Sync, Op::Batch]);
        assert_eq!(world.log().unwrap().health(), Health::Healthy);
        judge(world, seed);
    }
}

/// The limit is so low that each of these opens finds the log near it.
#[test]
fn a_log_near_its_limit_is_opened_in_place_and_keeps_all_through_every_crash() {
    let seed = seed();
    let mut near = config();
    near.segment_bytes = 48 << 10;
    near.reserved_bytes = 8 << 10;
    near.log_bytes_max = 4 * near.segment_bytes + near.reserved_bytes + (71 << 10);
    let mut world = World::new(seed, near);
    run(&mut world, &[Op::Rotate, Op::Rotate, Op::Append, Op::Sync]);
    world.begin_looking();
    let names = |world: &World| world.disk.image().names(LOG);
    let last_segment = |names: Vec<String>| names.into_iter().filter(|n| n.ends_with(".seg")).max();
    let before = last_segment(names(&world));
    run(&mut world, &[Op::Reopen, Op::Batch, Op::Sync, Op::Append, Op::Reopen, Op::Append]);
    run(&mut world, &[Op::Close, Op::Append, Op::Sync, Op::Reopen, Op::Reopen, Op::Batch]);
    assert_eq!(last_segment(names(&world)), before, "an open made a segment");
    run(&mut world, &[Op::PowerCut, Op::Append, Op::Sync, Op::PowerCut]);
    judge(world, seed);
}

#[test]
fn a_sector_that_cannot_be_read_is_no_torn_write() {
    let mut world = World::new(seed(), config());
    run(&mut world, &[Op::Batch, Op::Sync, Op::Append]);
    world.kill();
    let image = world.disk.image();
    let disk = SimDisk::from_image(&image);
    disk.fail_reads(true);
    let refused = recover(disk.dir(LOG), &config()).map(|recovery| recovery.last_lsn);
    assert!(matches!(refused, Err(OpenError::Io { .. })), "O8: {refused:?}");
    disk.fail_reads(false);
    assert_eq!(disk.image().digest(), image.digest(), "O8: a refused open changed something");
}
