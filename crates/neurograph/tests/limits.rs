//! A changed limit binds sessions whatever they do: at one create a second, at ten, and as many as a core can do.
#![allow(clippy::print_stdout, reason = "tells how many creates were judged")]

use neurograph::{Config, CreateError, Session, Store, Token};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How often the limit changes, and for how long in all.
const PHASE: Duration = Duration::from_millis(130);
const RUN: Duration = Duration::from_secs(5);

/// The number of the present phase: even ones admit, odd ones refuse, and from each change's begin to its return
/// there is none.
struct Phases {
    phase: AtomicU64,
    done: Mutex<bool>,
    bell: Condvar,
}

const CHANGING: u64 = u64::MAX;

impl Phases {
    /// Waits until `pause` has passed; `false` once all is done.
    fn pause(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut done = self.done.lock().unwrap();
        while !*done {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            done = self.bell.wait_timeout(done, left).unwrap().0;
        }
        false
    }

    /// Creates one token and deletes it. Judged if one phase held from begin to end: `Some(admitted)`.
    fn try_once(&self, session: &mut Session, token: &Token) -> Option<bool> {
        let before = self.phase.load(SeqCst);
        let created = session.create(token);
        let after = self.phase.load(SeqCst);
        let admitted = match created {
            Ok(id) => {
                session.delete(id).unwrap();
                true
            }
            Err(CreateError::QuotaExceeded { .. }) => false,
            Err(other) => panic!("{other}"),
        };
        if before != after || before == CHANGING {
            return None;
        }
        assert_eq!(admitted, before.is_multiple_of(2), "phase {before}");
        Some(admitted)
    }
}

/// Runs at one create each `pace` until all is done; returns how many were judged as admitted and as refused.
fn run(store: &Store, phases: &Phases, pace: Option<Duration>) -> [u64; 2] {
    let token = Token::builder().timestamp(1).build().unwrap();
    let (mut session, mut judged) = (store.session(), [0, 0]);
    let mut turn = 0_u64;
    loop {
        if let Some(admitted) = phases.try_once(&mut session, &token) {
            judged[usize::from(!admitted)] += 1;
        }
        turn += 1;
        let on = match pace {
            Some(pace) => phases.pause(pace),
            None => !turn.is_multiple_of(1_024) || !*phases.done.lock().unwrap(),
        };
        if !on {
            return judged;
        }
    }
}

#[test]
fn a_changed_limit_binds_each_create_begun_after_it_at_any_rate() {
    let mut config = Config::default();
    config.guardian.enable_aggressive_cleanup = false;
    config.blackbox.panic_hook = false;
    let store = Store::in_memory(config).unwrap();
    // One token is always there, so a limit of 1 is below what any create needs.
    store.session().create(&Token::builder().timestamp(1).build().unwrap()).unwrap();
    let phases = Phases { phase: AtomicU64::new(0), done: Mutex::new(false), bell: Condvar::new() };
    let judged = thread::scope(|scope| {
        let paces = [Some(Duration::from_secs(1)), Some(Duration::from_millis(100)), None];
        let rates = paces.map(|pace| {
            let (store, phases) = (&store, &phases);
            scope.spawn(move || run(store, phases, pace))
        });
        let (begun, mut phase) = (Instant::now(), 0);
        while begun.elapsed() < RUN {
            phases.pause(PHASE);
            phases.phase.store(CHANGING, SeqCst);
            phase += 1;
            store.set_limits((phase % 2 == 1).then_some(1), None);
            phases.phase.store(phase, SeqCst);
        }
        *phases.done.lock().unwrap() = true;
        phases.bell.notify_all();
        rates.map(|rate| rate.join().unwrap())
    });
    let [slow, ten, fast] = judged;
    println!("admitted, refused: 1/s {slow:?}, 10/s {ten:?}, as fast as it can {fast:?}");
    assert!(slow.iter().sum::<u64>() >= 2);
    assert!(ten.iter().all(|&count| count >= 3));
    assert!(fast.iter().all(|&count| count > 100_000));
}
