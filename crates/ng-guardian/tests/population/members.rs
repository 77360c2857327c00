//! A population for tests: each member has a credit and 64 bytes of memory of its own; scans are counted.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;

use ng_guardian::{
    Candidate, CleanupKey, CleanupPolicy, Cut, Evict, Evicted, Granted, Guardian, GuardianConfig,
    Population, Position, Refusal,
};

pub const MEMBER_BYTES: u64 = 64;

/// What may be done with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Durable,
    Pinned,
}

/// A guardian and its members; a member's key is its place.
pub struct Members {
    pub guardian: Guardian,
    members: RefCell<Vec<Option<Kind>>>,
    scans: Cell<u64>,
    all_durable: Cell<bool>,
}

impl Members {
    /// `limit` members of one kind, each admitted by a guardian with that limit; without a limit of
    /// memory.
    pub fn full(limit: u64, kind: Kind) -> Self {
        let mut config = GuardianConfig::default();
        config.max_tokens = Some(limit);
        config.max_memory_bytes = None;
        let members = Self::with(config);
        for _ in 0..limit {
            members.create(kind).expect("room");
        }
        members
    }

    pub fn with(mut config: GuardianConfig) -> Self {
        config.kernel_root = "/nonexistent".into(); // nothing here depends on the machine
        let guardian = Guardian::new(config).expect("a valid config");
        let (scans, all_durable) = (Cell::new(0), Cell::new(false));
        Self { guardian, members: RefCell::default(), scans, all_durable }
    }

    pub fn create(&self, kind: Kind) -> Result<(), Refusal> {
        let granted = self.guardian.reserve(1)?;
        if let Err(refusal) = self.guardian.commit(MEMBER_BYTES) {
            self.guardian.release_unused(1);
            return Err(refusal);
        }
        self.members.borrow_mut().push(Some(kind));
        assert_eq!(granted.credits, 1);
        Ok(())
    }

    /// A member with a credit that was granted before.
    pub fn make(&self, granted: Granted, kind: Kind) {
        self.guardian.commit(MEMBER_BYTES).expect("room");
        let mut members = self.members.borrow_mut();
        members.extend((0..granted.credits).map(|_| Some(kind)));
    }

    pub fn delete(&self, index: usize) {
        assert!(self.members.borrow_mut()[index].take().is_some());
        self.let_go();
    }

    pub fn set_kind(&self, index: usize, kind: Kind) {
        self.members.borrow_mut()[index] = Some(kind);
    }

    pub fn say_all_are_durable(&self) {
        self.all_durable.set(true);
    }

    pub fn len(&self) -> usize {
        self.members.borrow().iter().flatten().count()
    }

    pub fn scans(&self) -> u64 {
        self.scans.get()
    }

    fn let_go(&self) {
        self.guardian.release(1);
        self.guardian.uncommit(MEMBER_BYTES);
    }
}

fn candidate(index: usize, kind: Kind) -> Candidate {
    Candidate {
        key: CleanupKey::from_u32(index as u32),
        durable: kind == Kind::Durable,
        pinned: kind == Kind::Pinned,
    }
}

impl Population for Members {
    fn member_bytes(&self) -> u64 {
        MEMBER_BYTES
    }

    fn has_evictable(&self, evict: Evict) -> bool {
        evict == Evict::All || !self.all_durable.get()
    }

    fn scan(&self, _: CleanupPolicy, visit: &mut dyn FnMut(Candidate) -> ControlFlow<()>) {
        self.scans.set(self.scans.get() + 1);
        let members = self.members.borrow();
        let mut live = members.iter().enumerate().filter_map(|(i, kind)| Some((i, (*kind)?)));
        let _ = live.try_for_each(|(index, kind)| visit(candidate(index, kind)));
    }

    fn evict(&self, cut: Cut, from: Position, max: u32) -> Evicted {
        let mut members = self.members.borrow_mut();
        let mut evicted = Evicted::default();
        for index in from.0 as usize..members.len() {
            if evicted.count == u64::from(max) {
                evicted.next = Some(Position(index as u64));
                break;
            }
            if members[index].take_if(|kind| cut.takes(&candidate(index, *kind))).is_some() {
                self.let_go();
                evicted.count += 1;
                evicted.bytes_freed += MEMBER_BYTES;
            }
        }
        evicted
    }
}
