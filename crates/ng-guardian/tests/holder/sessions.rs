//! A holder for tests: sessions with leases behind mutexes, as a store would have them.

use std::sync::{Arc, Mutex, PoisonError};

use ng_guardian::{Guardian, GuardianConfig, Holder, Refusal, ReleaseCell};

type Lease = Arc<Mutex<u64>>;

/// The leases of all sessions.
#[derive(Default)]
pub struct Leases(Mutex<Vec<Lease>>);

impl Holder for Leases {
    fn recall_idle(&self) -> u64 {
        let leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leases.iter().map(|lease| std::mem::take(&mut *lock(lease))).sum()
    }
}

fn lock(lease: &Lease) -> std::sync::MutexGuard<'_, u64> {
    lease.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A guardian and its holder.
#[derive(Clone)]
pub struct Store {
    pub guardian: Guardian,
    leases: Arc<Leases>,
}

impl Store {
    pub fn new(max_tokens: u64) -> Self {
        let mut config = GuardianConfig::default();
        config.max_tokens = Some(max_tokens);
        config.kernel_root = "/nonexistent".into(); // nothing here depends on the machine
        let guardian = Guardian::new(config).expect("a valid config");
        let leases = Arc::new(Leases::default());
        let holder: Arc<dyn Holder> = leases.clone();
        guardian.set_holder(&holder);
        Self { guardian, leases }
    }

    pub fn session(&self) -> Session {
        let lease = Lease::default();
        self.leases.0.lock().expect("leases").push(Arc::clone(&lease));
        Session { cell: self.guardian.cell(), store: self.clone(), lease }
    }
}

/// One thread's way to create and delete.
pub struct Session {
    cell: ReleaseCell,
    store: Store,
    lease: Lease,
}

impl Session {
    /// Uses one credit of the lease; fills it under its lock, so that no credit is out of sight.
    pub fn create(&mut self) -> Result<(), Refusal> {
        {
            let mut idle = lock(&self.lease);
            if *idle == 0
                && let Some(granted) = self.store.guardian.try_reserve(1024)
            {
                *idle += u64::from(granted.credits);
            }
            if *idle > 0 {
                *idle -= 1;
                return Ok(());
            }
        }
        self.store.guardian.reserve(1).map(|granted| assert_eq!(granted.credits, 1))
    }

    pub fn delete(&mut self) {
        self.cell.release_one();
    }

    /// Credits that lie in this session's lease.
    #[allow(dead_code, reason = "not every test looks")]
    pub fn idle(&self) -> u64 {
        *lock(&self.lease)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut idle = lock(&self.lease);
        self.store.guardian.release(std::mem::take(&mut *idle));
        drop(idle);
        let mut leases = self.store.leases.0.lock().unwrap_or_else(PoisonError::into_inner);
        leases.retain(|lease| !Arc::ptr_eq(lease, &self.lease));
    }
}
