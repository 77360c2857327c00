//! Random sequences of what an owner can do, against a model that is a plain vector.

mod support;

use ng_wal::{Durability, Lsn, Wal};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use support::{config, replay, restore, snapshot};

#[derive(Clone, Debug)]
enum Step {
    Append(u8, usize),
    Batch(usize),
    Sync,
    Retire(u8),
    Close,
    Drop,
    /// The files as they are at this moment, opened elsewhere: a crash that lost nothing written.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (any::<u8>(), 0usize..3_000).prop_map(|(kind, bytes)| Step::Append(kind, bytes)),
        3 => (0usize..40).prop_map(Step::Batch),
        2 => Just(Step::Sync),
        1 => any::<u8>().prop_map(Step::Retire),
        1 => Just(Step::Close),
        1 => Just(Step::Drop),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..60)
}

fn payload(lsn: u64, bytes: usize) -> Vec<u8> {
    let mut payload = lsn.to_string().into_bytes();
    payload.resize(bytes.max(payload.len()), b'.');
    payload
}

type Model = Vec<(u64, u8, Vec<u8>)>;

/// What is recovered is the model from some first LSN on, up to the end or (crash) a prefix.
fn check(recovered: &Model, model: &mut Model, durable: u64, whole: bool) {
    let end = recovered.last().map_or(0, |(lsn, ..)| *lsn).max(durable);
    assert!(!whole || end == model.len() as u64);
    for record in recovered {
        assert_eq!(record, &model[record.0 as usize - 1]);
    }
    for pair in recovered.windows(2) {
        assert_eq!(pair[0].0 + 1, pair[1].0);
    }
    model.truncate(end as usize);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(support::seed()),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_log_agrees_with_a_vector_whatever_is_done_with_it(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model::new();
        let mut retired = 0;
        let mut log = Some(Wal::open(dir.path(), config()).unwrap().0);
        for step in steps {
            let wal = log.as_ref().unwrap();
            let next = model.len() as u64 + 1;
            match step {
                Step::Append(kind, bytes) => {
                    let payload = payload(next, bytes);
                    prop_assert_eq!(wal.append(kind, &payload).unwrap(), Lsn::new(next));
                    model.push((next, kind, payload));
                }
                Step::Batch(count) => {
                    let batch: Model =
                        (0..count as u64).map(|i| (next + i, i as u8, payload(next + i, 100))).collect();
                    let slices: Vec<(u8, &[u8])> =
                        batch.iter().map(|(_, kind, payload)| (*kind, payload.as_slice())).collect();
                    wal.append_batch(&slices).unwrap();
                    model.extend(batch);
                }
                Step::Sync => {
                    prop_assert_eq!(wal.sync().unwrap(), Lsn::new(next - 1));
                    prop_assert_eq!(wal.durable_lsn(), Lsn::new(next - 1));
                }
                Step::Retire(part) => {
                    let lsn = next * u64::from(part) / 256;
                    wal.retire_before(Lsn::new(lsn)).unwrap();
                    retired = retired.max(lsn);
                    prop_assert!(wal.oldest_lsn().get() <= retired.max(1));
                }
                Step::Close | Step::Drop => {
                    let wal = log.take().unwrap();
                    if matches!(step, Step::Close) { wal.close().unwrap() } else { drop(wal) }
                    let (wal, recovery) = Wal::open(dir.path(), config()).unwrap();
                    prop_assert!(recovery.sealed);
                    check(&replay(&recovery), &mut model, recovery.last_lsn.get(), true);
                    log = Some(wal);
                }
                Step::Crash => {
                    let durable = wal.append_durable(9, b"last", Durability::Strict).unwrap();
                    model.push((durable.get(), 9, b"last".to_vec()));
                    let files = snapshot(dir.path());
                    drop(log.take());
                    restore(dir.path(), &files);
                    let (wal, recovery) = Wal::open(dir.path(), config()).unwrap();
                    prop_assert!(recovery.last_lsn >= durable);
                    check(&replay(&recovery), &mut model, recovery.last_lsn.get(), true);
                    log = Some(wal);
                }
            }
        }
    }
}
