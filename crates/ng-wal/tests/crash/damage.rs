//! Damage that no crash can cause: below a promise, or before a seal, it is refused and named, and
//! the refused directory stays as it is (O8). Everything else of the log stays readable.

use ng_wal::sim::{Image, SimDisk, recover};
use ng_wal::{OpenError, Recovery};

use crate::seed;
use crate::world::{Entry, LOG, Op, World, config};

/// A log at rest, its records, and how many of them something later attests.
fn log_at_rest(seed: u64, ops: &[Op], then: &[Op]) -> (Image, Vec<Entry>, u64) {
    let mut world = World::new(seed, config());
    let mut told = |ops: &[Op]| {
        if let Err(reason) = world.run(ops) {
            panic!("{reason}");
        }
        world.history().len() as u64
    };
    let attested = told(ops);
    told(then);
    let sealed = then == [Op::Close];
    world.kill();
    let records = world.history().clone();
    let attested = if sealed { records.len() as u64 } else { attested };
    (world.disk.image(), records, attested)
}

/// `Ok` only with every attested record, and nothing that was not appended.
fn judge(
    image: &Image,
    damage: &str,
    file: &str,
    offset: u64,
    records: &[Entry],
    attested: u64,
) -> Result<(), String> {
    let before = image.digest();
    let disk = SimDisk::from_image(image);
    match recover(disk.dir(LOG), &config()) {
        Ok(recovery) => accepted(&recovery, records, attested)
            .map_err(|reason| format!("{reason} ({damage} at {offset} of {file})")),
        Err(OpenError::Corrupt { file: named, offset: at, .. }) => {
            // A frame that is damaged begins before the damage; what is cut off may begin at its end.
            if named != file || at > offset + 512 && damage != "a cut" {
                return Err(format!(
                    "O8: {damage} at {offset} of {file} was taken for damage at {at} of {named}"
                ));
            }
            if disk.image().digest() != before {
                return Err(format!("O8: refused and changed ({damage} at {offset} of {file})"));
            }
            Ok(())
        }
        Err(_) => Ok(()), // another file's header: `Foreign`, `Version`, `Missing`
    }
}

fn accepted(recovery: &Recovery, records: &[Entry], attested: u64) -> Result<(), String> {
    let last = recovery.last_lsn.get();
    if last < attested {
        return Err(format!("O8: {attested} records were attested, opened with {last}"));
    }
    for (due, record) in (recovery.first_lsn.get()..).zip(recovery.replay()) {
        let record = record.map_err(|e| format!("O8: opened, and replay failed: {e}"))?;
        let lsn = record.lsn.get();
        let same =
            |entry: &Entry| entry.kind == record.kind && entry.payload[..] == record.payload[..];
        if lsn != due || !records.get(lsn as usize - 1).is_some_and(same) {
            return Err(format!("O3: record {lsn} was never appended"));
        }
    }
    Ok(())
}

/// Zeroes, garbage, and one flipped bit, at each 64 bytes of each file.
fn damage_everything(
    seed: u64,
    image: &Image,
    records: &[Entry],
    attested: u64,
    ops_rotated: bool,
) {
    let mut rng = fastrand::Rng::with_seed(seed);
    for file in image.names(LOG) {
        let Some(bytes) = image.read(LOG, &file) else { continue };
        for offset in (0..bytes.len()).step_by(64) {
            let sector = offset - offset % 512;
            let (unit, sector) =
                (offset..bytes.len().min(offset + 64), sector..bytes.len().min(sector + 512));
            let mut cases =
                vec![("a flipped bit", bytes.clone()), ("a zeroed frame", bytes.clone())];
            cases[0].1[offset + rng.usize(..unit.len())] ^= 1 << rng.u8(..8);
            cases[1].1[unit].fill(0);
            if sector.start == offset {
                cases.push(("zeroes", bytes.clone()));
                cases[2].1[sector.clone()].fill(0);
                cases.push(("garbage", bytes.clone()));
                rng.fill(&mut cases[3].1[sector]);
                let block = offset - offset % 4096..bytes.len().min(offset - offset % 4096 + 4096);
                if block.start == offset {
                    cases.push(("a zeroed block", bytes.clone()));
                    cases[4].1[block].fill(0);
                }
            }
            for (damage, bytes) in cases {
                let mut damaged = image.clone();
                damaged.put(LOG, &file, &bytes);
                if let Err(reason) =
                    judge(&damaged, damage, &file, offset as u64, records, attested)
                {
                    panic!("{reason}");
                }
            }
        }
        // Nothing attests what the end of the log has lost, once its own promises are cut off too:
        // of all files only the first one has a successor in use here.
        let first = image.names(LOG).first() == Some(&file) && ops_rotated;
        let attested = if first { attested } else { 0 };
        let mut cut = image.clone();
        for at in (0..bytes.len()).step_by(512) {
            cut.put(LOG, &file, &bytes[..at]);
            if let Err(reason) = judge(&cut, "a cut", &file, at as u64, records, attested) {
                panic!("{reason}");
            }
        }
    }
}

#[test]
fn damage_below_a_promise_is_refused_and_named() {
    let seed = seed();
    let ops = [Op::Append, Op::Sync, Op::Batch, Op::Sync];
    let (image, records, attested) = log_at_rest(seed, &ops, &[Op::Append]);
    damage_everything(seed, &image, &records, attested, false);
}

#[test]
fn damage_in_a_segment_that_has_a_successor_is_refused_and_named() {
    let seed = seed();
    let ops = [Op::Batch, Op::Rotate, Op::Append, Op::Sync];
    let (image, records, attested) = log_at_rest(seed, &ops, &[Op::Batch]);
    damage_everything(seed, &image, &records, attested, true);
}

#[test]
fn any_damage_before_a_seal_is_refused_and_named() {
    let seed = seed();
    let ops = [Op::Batch, Op::Sync, Op::Rotate, Op::Append];
    let (image, records, attested) = log_at_rest(seed, &ops, &[Op::Close]);
    damage_everything(seed, &image, &records, attested, true);
}
