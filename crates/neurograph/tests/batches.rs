//! Batches: what they do, what of them is whole after a crash, and what they say where they stop.
#![cfg(unix)]
#![allow(clippy::print_stdout, reason = "a random test tells its seed")]

use neurograph::trace::{MemorySink, SamplerConfig};
use neurograph::{
    Config, CreateError, Durability, Flags, FullCause, Persist, Session, Store, Token, TokenId,
    WriteError,
};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

fn token(n: u32) -> Token {
    Token::builder().timestamp(n + 1).build().unwrap()
}

fn flagged(n: u32) -> Token {
    Token::builder().timestamp(n + 1).flags(Flags::PERSISTENT).build().unwrap()
}

fn tokens(count: u32) -> Vec<Token> {
    (0..count).map(token).collect()
}

fn config() -> Config {
    let mut config = Config::default();
    config.guardian.max_tokens = Some(100_000);
    config.guardian.enable_aggressive_cleanup = false;
    config.blackbox.panic_hook = false;
    config
}

fn all(store: &Store) -> HashMap<TokenId, Token> {
    store.iter().collect()
}

fn create(session: &mut Session, tokens: &[Token]) -> Vec<TokenId> {
    let mut ids = Vec::new();
    session.create_batch(tokens, &mut ids).unwrap();
    ids
}

#[test]
fn a_batch_is_its_tokens_in_order_in_memory_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [Store::in_memory(config()).unwrap(), Store::open(dir.path(), config()).unwrap()];
    for store in &stores {
        let mut session = store.session();
        session.create_batch(&[], &mut Vec::new()).unwrap();
        let mut ids = vec![session.create(&token(77)).unwrap()];
        // Parts, leases and chunks all end somewhere in it.
        session.create_batch(&tokens(50_000), &mut ids).unwrap();
        assert_eq!(ids.len(), 50_001, "appended");
        for (n, id) in (0..).zip(&ids[1..]) {
            assert_eq!(session.get(*id), Some(token(n)));
        }
        let updates: Vec<_> = ids.iter().step_by(2).map(|id| (*id, token(9_000_000))).collect();
        session.update_batch(&updates).unwrap();
        let deletes: Vec<_> = ids.iter().skip(1).step_by(3).copied().collect();
        session.delete_batch(&deletes).unwrap();
        let expected: HashMap<_, _> = (ids.iter().enumerate())
            .filter(|(place, _)| place % 3 != 1)
            .map(|(place, id)| match place % 2 {
                0 => (*id, token(9_000_000)),
                _ => (*id, token(place as u32 - 1)),
            })
            .collect();
        assert_eq!(all(store), expected);
        assert_eq!(store.len(), expected.len() as u64);
        let stats = store.stats();
        assert_eq!((stats.tokens_created_total, stats.tokens_rejected_total), (50_001, 0));
        assert_eq!(stats.tokens_deleted_total, deletes.len() as u64);
    }
    let [_, store] = stores;
    let before = all(&store);
    store.close().unwrap();
    assert_eq!(all(&Store::open(dir.path(), config()).unwrap()), before);
}

#[test]
fn a_token_without_a_time_gets_the_present_one_also_in_a_batch() {
    let store = Store::in_memory(config()).unwrap();
    let mut session = store.session();
    let timeless = Token::builder().build().unwrap();
    let ids = create(&mut session, &vec![timeless; 3_000]);
    session.update_batch(&[(ids[0], timeless)]).unwrap();
    assert!(ids.iter().all(|id| session.get(*id).unwrap().timestamp() > 1_700_000_000));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// Wherever the log is cut, each part of a batch is there or not.
#[test]
fn of_each_part_of_a_batch_all_is_there_after_a_crash_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.wal.segment_bytes = 1_081_344;
    config.blackbox.enabled = false;
    let live = dir.path().join("live");
    let store = Store::open(&live, config.clone()).unwrap();
    let mut session = store.session();
    assert_eq!(store.batch_max(), 818, "as the docs say");
    // Of such sizes that frames end within them, if anything is claimed in pieces.
    let mut ids = Vec::new();
    (0..6).for_each(|_| session.create_batch(&tokens(500), &mut ids).unwrap());
    ids.chunks(120).take(20).for_each(|ids| session.delete_batch(ids).unwrap());
    store.sync().unwrap();
    let is_whole = |len: u64| len.is_multiple_of(500) || (3_000 - len).is_multiple_of(120);
    let logs = std::fs::read_dir(live.join("wal")).unwrap().map(|entry| entry.unwrap().path());
    let first =
        logs.filter(|path| path.extension().is_some_and(|e| e == "wal" || e == "seg")).min();
    let name = first.expect("a segment").file_name().unwrap().to_owned();
    let mut seen = std::collections::BTreeSet::new();
    for cut in (0..100).map(|place| 4_096 + place * 3_001) {
        let cut_copy = dir.path().join(format!("cut at {cut}"));
        copy(&live, &cut_copy);
        let file = std::fs::OpenOptions::new().write(true).open(cut_copy.join("wal").join(&name));
        let file = file.unwrap();
        let length = file.metadata().unwrap().len();
        // Zeroes as of a write that never came, and the length that the file was made with.
        file.set_len(cut).unwrap();
        file.set_len(length).unwrap();
        if let Ok(store) = Store::open(&cut_copy, config.clone()) {
            assert!(is_whole(store.len()), "cut at {cut}: {} tokens", store.len());
            seen.insert(store.len());
        }
        std::fs::remove_dir_all(&cut_copy).unwrap();
    }
    assert!(seen.len() >= 6, "{seen:?}: the cuts are where something lies");
}

#[test]
fn a_stale_id_ends_a_batch_where_it_stands_and_an_id_named_twice_is_met_twice() {
    let dir = tempfile::tempdir().unwrap();
    for store in [Store::in_memory(config()).unwrap(), Store::open(dir.path(), config()).unwrap()] {
        let mut session = store.session();
        let ids = create(&mut session, &tokens(2_000));
        session.delete(ids[1_500]).unwrap();
        let error = session.delete_batch(&ids).unwrap_err();
        assert_eq!(error.done, 1_500);
        assert!(matches!(error.source, WriteError::NotFound { id } if id == ids[1_500]));
        assert_eq!(store.len(), 499);
        let rest = &ids[1_501..];
        session
            .update_batch(&[(rest[0], token(1)), (rest[1], token(2)), (rest[0], token(3))])
            .unwrap();
        assert_eq!(session.get(rest[0]), Some(token(3)), "the later one");
        let error = session.delete_batch(&[rest[0], rest[1], rest[0], rest[2]]).unwrap_err();
        assert_eq!(error.done, 2);
        assert!(matches!(error.source, WriteError::NotFound { id } if id == rest[0]));
        assert_eq!(session.get(rest[2]), Some(token(1_503)));
    }
}

/// Each holds bits that the other wants next.
#[test]
fn batches_over_the_same_tokens_in_opposite_order_end() {
    let dir = tempfile::tempdir().unwrap();
    for store in [Store::in_memory(config()).unwrap(), Store::open(dir.path(), config()).unwrap()] {
        let ids = create(&mut store.session(), &tokens(300));
        std::thread::scope(|scope| {
            for backwards in [false, true] {
                let (store, mut ids) = (&store, ids.clone());
                scope.spawn(move || {
                    let mut session = store.session();
                    if backwards {
                        ids.reverse();
                    }
                    for round in 0..300 {
                        let new = token(2 * round + u32::from(backwards));
                        let updates: Vec<_> = ids.iter().map(|id| (*id, new)).collect();
                        session.update_batch(&updates).unwrap();
                    }
                });
            }
        });
        let session = store.session();
        let last = [token(598), token(599)];
        assert!(ids.iter().all(|id| last.contains(&session.get(*id).unwrap())));
    }
}

#[test]
fn at_the_quota_a_part_is_refused_as_a_whole_and_takes_nothing_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.guardian.max_tokens = Some(2_000);
    let store = Store::open(dir.path(), config).unwrap();
    let mut session = store.session();
    let mut ids = Vec::new();
    let error = session.create_batch(&tokens(2_500), &mut ids).unwrap_err();
    assert_eq!((error.created, ids.len(), store.len()), (1_636, 1_636, 1_636));
    assert!(matches!(error.source, CreateError::QuotaExceeded { limit: 2_000, .. }), "{error:?}");
    assert_eq!(store.stats().tokens_rejected_total, 1);
    // What the refused part had set aside is to be had by anybody.
    create(&mut store.session(), &tokens(364));
    assert!(session.create(&token(0)).is_err());
    session.delete_batch(&ids[..10]).unwrap();
    assert_eq!(create(&mut session, &tokens(10)).len(), 10);
    assert_eq!((store.len(), store.stats().guardian.tokens_used), (2_000, 2_000));
}

#[test]
fn racing_batches_admit_exactly_the_quota() {
    let mut config = config();
    config.guardian.max_tokens = Some(10_000);
    for _ in 0..20 {
        let store = Store::in_memory(config.clone()).unwrap();
        let created: u64 = std::thread::scope(|scope| {
            let race = |size: u32| {
                let store = &store;
                move || {
                    let (mut session, mut ids) = (store.session(), Vec::new());
                    while session.create_batch(&tokens(size), &mut ids).is_ok() {}
                    ids.len() as u64
                }
            };
            let racers: Vec<_> = [3, 70, 500, 1_500].map(|size| scope.spawn(race(size))).into();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!((created, store.len()), (10_000, 10_000));
    }
}

#[test]
fn a_full_log_refuses_a_batch_and_takes_the_one_that_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.wal.segment_bytes = 1_081_344;
    config.wal.log_bytes_max = 9 << 20;
    config.wal.full_timeout = Duration::from_millis(20);
    let store = Store::open(dir.path(), config.clone()).unwrap();
    let mut session = store.session();
    let mut ids = Vec::new();
    let error = loop {
        match session.create_batch(&tokens(818), &mut ids) {
            Ok(()) => {}
            // The disk may be slow; the log is what counts.
            Err(error) if !is_of_the_log(&error.source) => {}
            Err(error) => break error,
        }
    };
    assert_eq!((error.created, store.len()), (0, ids.len() as u64));
    while let Ok(id) = session.create(&token(1)) {
        ids.push(id); // what room a batch leaves
    }
    let before = all(&store);
    let updates: Vec<_> = ids.iter().take(100).map(|id| (*id, token(5))).collect();
    let error = session.update_batch(&updates).unwrap_err();
    assert!(matches!(error.source, WriteError::LogFull { .. }), "{error:?}");
    assert_eq!((error.done, all(&store)), (0, before));
    session.delete_batch(&ids[..500]).unwrap();
    assert_eq!(store.len(), ids.len() as u64 - 500);
    store.close().unwrap();
    assert_eq!(Store::open(dir.path(), config).unwrap().len(), ids.len() as u64 - 500);
}

fn is_of_the_log(error: &CreateError) -> bool {
    matches!(error, CreateError::LogFull { cause, .. } if matches!(**cause, FullCause::Log { .. }))
}

#[test]
fn what_is_strict_is_durable_when_it_returns_and_a_closed_store_takes_no_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), config()).unwrap();
    let mut session = store.session();
    let durable = || store.stats().wal.unwrap().durable_lsn;
    let mut ids = Vec::new();
    session.with(Durability::Strict).create_batch(&tokens(2_000), &mut ids).unwrap();
    assert!(durable() >= session.last_lsn());
    session.with(Durability::Strict).update_batch(&[(ids[0], token(5))]).unwrap();
    assert!(durable() >= session.last_lsn());
    session.with(Durability::Strict).update_if(ids[0], &token(5), &token(6)).unwrap();
    assert!(durable() >= session.last_lsn());
    let doubled = |token: Token| token.with_timestamp(2 * token.timestamp());
    let modified = session.with(Durability::Strict).modify(ids[0], doubled).unwrap();
    assert_eq!((modified.timestamp(), session.get(ids[0])), (14, Some(modified)));
    assert!(durable() >= session.last_lsn());
    session.with(Durability::Strict).delete_batch(&ids[..100]).unwrap();
    assert!(durable() >= session.last_lsn());
    assert_eq!(session.last_lsn(), store.last_lsn());
    store.close().unwrap();
    let error = session.create_batch(&tokens(5), &mut ids).unwrap_err();
    assert!(matches!(error.source, CreateError::Closed) && error.created == 0, "{error:?}");
    let error = session.delete_batch(&ids[200..]).unwrap_err();
    assert!(matches!(error.source, WriteError::Closed) && error.done == 0, "{error:?}");
}

#[test]
fn a_store_that_logs_flagged_tokens_logs_those_of_a_batch_and_forgets_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.persist = Persist::Flagged;
    let store = Store::open(dir.path(), config.clone()).unwrap();
    let mut session = store.session();
    let mixed: Vec<_> =
        (0..3_000).map(|n| if n % 7 == 0 { flagged(n) } else { token(n) }).collect();
    let before = store.last_lsn();
    let ids = create(&mut session, &mixed);
    assert_eq!(store.last_lsn().get() - before.get(), 429, "one record for each that is flagged");
    // Three stop being logged, one begins to be.
    let updates = [
        (ids[0], token(0)),
        (ids[1], flagged(1)),
        (ids[7], token(7)),
        (ids[2], token(22)),
        (ids[14], token(14)),
    ];
    session.update_batch(&updates).unwrap();
    session.delete_batch(&ids[2_000..]).unwrap();
    let kept = |(id, token): (TokenId, Token)| {
        token.flags().contains(Flags::PERSISTENT).then_some((id, token))
    };
    let expected: HashMap<_, _> = store.iter().filter_map(kept).collect();
    assert_eq!(expected.len(), 286 - 3 + 1);
    store.close().unwrap();
    assert_eq!(all(&Store::open(dir.path(), config).unwrap()), expected);
}

#[test]
fn every_create_update_and_delete_of_a_batch_is_one_for_the_sampler() {
    let dir = tempfile::tempdir().unwrap();
    for logged in [false, true] {
        let sink = MemorySink::new();
        let mut config = config();
        config.trace.sampler = SamplerConfig::fixed_rate(0.1);
        let builder = Store::builder(config).sink(Box::new(sink.clone()));
        let store = if logged { builder.open(dir.path()) } else { builder.in_memory() }.unwrap();
        let mut session = store.session();
        let ids = create(&mut session, &tokens(20_000));
        let updates: Vec<_> = ids.iter().map(|id| (*id, token(7))).collect();
        session.update_batch(&updates).unwrap();
        session.delete_batch(&ids[..10_000]).unwrap();
        assert_eq!(session.delete_batch(&ids[..1]).unwrap_err().done, 0);
        drop(session);
        store.flush_spans(Duration::from_secs(10)).unwrap();
        assert_eq!(store.stats().sampler.unwrap().samples_total, 50_001, "logged: {logged}");
        let spans = sink.spans();
        let count = |name| spans.iter().filter(|span| span.name == name).count();
        // Standard deviations 42, 42 and 30.
        assert!((1_750..=2_250).contains(&count("token.create")), "{}", count("token.create"));
        assert!((1_750..=2_250).contains(&count("token.update")), "{}", count("token.update"));
        assert!((830..=1_170).contains(&count("token.delete")), "{}", count("token.delete"));
        let failed = spans.iter().filter(|s| s.record.status == neurograph::trace::Status::Error);
        assert_eq!(failed.count(), 1, "an error is kept");
    }
}

/// Random calls against a model, then a restart.
#[test]
fn random_batches_and_single_writes_leave_what_a_map_would_hold() {
    let seed = std::env::var("NG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("NG_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for persist in [Persist::All, Persist::Flagged] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config();
        config.persist = persist;
        config.wal.segment_bytes = 1_081_344;
        let mut model: HashMap<TokenId, Token> = HashMap::new();
        for _ in 0..3 {
            let store = Store::open(dir.path(), config.clone()).unwrap();
            model.retain(|_, token| {
                persist == Persist::All || token.flags().contains(Flags::PERSISTENT)
            });
            assert_eq!(all(&store), model);
            let mut sessions = [store.session(), store.session()];
            for _ in 0..300 {
                let session = &mut sessions[random.usize(..2)];
                let size = [0, 1, 2, 30, 900, 2_500][random.usize(..6)];
                let new = |random: &mut fastrand::Rng| match random.bool() {
                    true => token(random.u32(..1 << 30)),
                    false => flagged(random.u32(..1 << 30)),
                };
                let known: Vec<TokenId> = model.keys().copied().collect();
                let some: Vec<TokenId> = match known.is_empty() {
                    true => Vec::new(),
                    false => (0..size).map(|_| known[random.usize(..known.len())]).collect(),
                };
                match random.u32(..4) {
                    0 if model.len() < 20_000 => {
                        let tokens: Vec<_> = (0..size).map(|_| new(&mut random)).collect();
                        let ids = create(session, &tokens);
                        assert!(ids.iter().all(|id| !model.contains_key(id)));
                        model.extend(ids.into_iter().zip(tokens));
                    }
                    1 => {
                        let updates: Vec<_> =
                            some.into_iter().map(|id| (id, new(&mut random))).collect();
                        session.update_batch(&updates).unwrap();
                        model.extend(updates);
                    }
                    2 => {
                        let outcome = session.delete_batch(&some);
                        let repeated = |place: &usize| !some[..*place].contains(&some[*place]);
                        let done = (0..some.len()).take_while(repeated).count();
                        assert_eq!(outcome.map_or_else(|error| error.done, |()| some.len()), done);
                        some[..done].iter().for_each(|id| _ = model.remove(id));
                    }
                    _ => {
                        let token = new(&mut random);
                        model.insert(session.create(&token).unwrap(), token);
                    }
                }
            }
            assert_eq!(all(&store), model);
            assert_eq!(store.len(), model.len() as u64);
            drop(sessions);
            store.close().unwrap();
        }
    }
}
