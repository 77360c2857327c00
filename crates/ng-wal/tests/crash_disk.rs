//! The simulated disk itself: what it keeps, what it may lose, and what it must not.

use std::collections::BTreeSet;

use ng_wal::sim::{Access, CrashKind, CrashPlan, FailedSync, LogFile, LogIo, SimDisk, Walk};

fn end(disk: &SimDisk) -> Walk {
    let mut walk = disk.trace().walk();
    while walk.step().is_some() {}
    walk
}

/// What a file can hold after a crash at the end of all that was done; `None`: it is not there.
fn outcomes(disk: &SimDisk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    let plan = CrashPlan { images_max: usize::MAX, ..CrashPlan::default() };
    let images = end(disk).images(&plan).filter(|crash| crash.kind != CrashKind::Torn);
    images.map(|crash| crash.image.read("d", name)).collect()
}

fn write(file: &dyn LogFile, byte: u8, sectors: u64, at: u64) {
    let bytes = vec![byte; sectors as usize * 512];
    assert_eq!(file.write_at(&bytes, at * 512).unwrap(), bytes.len());
}

fn durable_file(dir: &dyn LogIo, name: &str) -> std::sync::Arc<dyn LogFile> {
    let file = dir.create(name).unwrap();
    write(&*file, 1, 2, 0);
    file.sync_data().unwrap();
    dir.sync_dir().unwrap();
    file
}

#[test]
fn a_synced_file_without_a_synced_name_may_be_gone_and_with_one_is_there() {
    let disk = SimDisk::new();
    let dir = disk.dir("d");
    let file = dir.create("a").unwrap();
    write(&*file, 1, 1, 0);
    file.sync_data().unwrap();
    let kept = Some(vec![1; 512]);
    assert_eq!(outcomes(&disk, "a"), [None, kept.clone()].into());
    dir.sync_dir().unwrap();
    assert_eq!(outcomes(&disk, "a"), [kept].into());
}

#[test]
fn each_sector_that_was_not_synced_is_there_in_any_version_and_the_length_may_be_first() {
    let disk = SimDisk::new();
    let dir = disk.dir("d");
    let file = durable_file(&*dir, "a");
    write(&*file, 2, 2, 1);
    write(&*file, 3, 1, 1);
    let seen: BTreeSet<_> = outcomes(&disk, "a")
        .into_iter()
        .map(|bytes| bytes.unwrap().chunks(512).map(|sector| sector[0]).collect::<Vec<_>>())
        .collect();
    for expected in
        [vec![1, 1], vec![1, 2, 2], vec![1, 3], vec![1, 1, 2], vec![1, 3, 0], vec![1, 2]]
    {
        assert!(seen.contains(&expected), "{expected:?} is not among {seen:?}");
    }
    assert!(seen.iter().all(|sectors| sectors[0] == 1), "{seen:?}");
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk, "a").len(), 1);
}

#[test]
fn a_rename_is_whole_in_every_crash() {
    let disk = SimDisk::new();
    let dir = disk.dir("d");
    durable_file(&*dir, "old");
    let new = dir.create("new.tmp").unwrap();
    write(&*new, 9, 2, 0);
    new.sync_data().unwrap();
    dir.rename("new.tmp", "old").unwrap();
    assert_eq!(outcomes(&disk, "old"), [Some(vec![1; 1024]), Some(vec![9; 1024])].into());
}

#[test]
fn a_torn_block_holds_anything_but_a_block_that_was_not_written_is_as_it_was() {
    let disk = SimDisk::new();
    let dir = disk.dir("d");
    let file = dir.create("a").unwrap();
    write(&*file, 1, 24, 0);
    file.sync_data().unwrap();
    dir.sync_dir().unwrap();
    write(&*file, 1, 8, 0); // the same bytes: nothing to tear
    write(&*file, 2, 1, 9);
    let plan = CrashPlan { images_max: usize::MAX, ..CrashPlan::default() };
    let mut torn_neighbours = false;
    for crash in end(&disk).images(&plan) {
        let bytes = crash.image.read("d", "a").unwrap();
        assert_eq!(bytes[..4096], [1; 4096], "{}", crash.name());
        assert_eq!(bytes[8192..], [1; 4096], "{}", crash.name());
        torn_neighbours |= bytes[8191] != 1;
    }
    assert!(torn_neighbours, "an acknowledged neighbour in the same block is never torn");
}

#[test]
fn a_failed_sync_drops_what_it_should_have_brought_and_the_next_one_lies() {
    for (how, read) in [(FailedSync::KeepsCache, 2), (FailedSync::Reverts, 1)] {
        let disk = SimDisk::new();
        let dir = disk.dir("d");
        let file = durable_file(&*dir, "a");
        write(&*file, 2, 2, 0);
        disk.fail_sync(1, how);
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, 0).unwrap();
        assert_eq!(byte, [read], "{how:?}");
        assert!(outcomes(&disk, "a").contains(&Some(vec![1; 1024])), "{how:?}");
        write(&*file, 2, 2, 0); // written again, it is dirty again
        file.sync_data().unwrap();
        assert_eq!(outcomes(&disk, "a"), [Some(vec![2; 1024])].into(), "{how:?}");
    }
}

#[test]
fn what_is_written_while_a_sync_runs_is_not_covered_by_it() {
    let disk = SimDisk::new();
    let dir = disk.dir("d");
    let file = durable_file(&*dir, "a");
    disk.hold_syncs(true);
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| file.sync_data());
        assert!(disk.until_held(std::time::Duration::from_secs(60)));
        write(&*file, 2, 1, 0);
        disk.hold_syncs(false);
        syncing.join().unwrap().unwrap();
    });
    assert_eq!(outcomes(&disk, "a").len(), 2);
}

#[test]
fn a_killed_process_leaves_what_it_wrote_and_its_handles_are_dead() {
    let disk = SimDisk::new();
    let dir = disk.dir("d");
    let file = durable_file(&*dir, "a");
    write(&*file, 2, 1, 0);
    disk.kill();
    assert!(file.write_at(&[3], 0).is_err());
    assert!(dir.list().is_err());
    let after = disk.dir("d").open("a", Access::Read).unwrap();
    let mut byte = [0];
    assert_eq!(after.read_at(&mut byte, 0).unwrap(), 1);
    assert_eq!(byte, [2]);
    assert!(outcomes(&disk, "a").contains(&Some(vec![1; 1024])), "the power may still fail");
}

#[test]
fn a_full_disk_takes_what_fits_and_an_image_opened_again_is_the_same() {
    let disk = SimDisk::new();
    let dir = disk.dir("d");
    let file = durable_file(&*dir, "a");
    disk.set_space(Some(100));
    assert_eq!(file.write_at(&[2; 512], 0).unwrap(), 100);
    let full = file.write_at(&[2; 512], 100).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let image = disk.image();
    assert_eq!(SimDisk::from_image(&image).image().digest(), image.digest());
    let mut other = image.clone();
    other.put("d", "a", &[7]);
    assert_ne!(other.digest(), image.digest());
}
