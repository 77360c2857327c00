//! The child of the recovery phase: writes to a store as fast as it can, tells its parent each id and
//! LSN, and which operations the store has said are durable, until it is killed.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use neurograph::{Durability, Session, TokenId};

use crate::failure::Failure;
use crate::format::{GROUP_BYTES_MAX, MESSAGE_BYTES, Message};
use crate::oracle::{Operation, Operations};
use crate::subject;

/// Each so many operations one is written with Strict, and is durable when it returns.
const STRICT_EACH: u64 = 49_999;

/// Each so many operations the child notes where it is, and waits until it is durable up to where it
/// was [`LAG`] notes ago. Balanced syncs each 10,000 records, so that it hardly ever has to wait: the
/// kill finds it writing.
const NOTE_EACH: u64 = 5_000;

/// Notes that may not be durable yet.
const LAG: usize = 4;

/// The child stops here and waits for its end: 73 bytes a record keep its log below 512 MiB.
pub const OPERATIONS_MAX: u64 = 6_000_000;

/// Writes until killed. Never returns but by an error.
pub fn run(dir: &Path, seed: u64) -> Result<(), Failure> {
    // If the parent dies without killing us, nobody would.
    let signal = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(signal)
        .map_err(|e| Failure::Environment(format!("cannot tie the child to its parent: {e}")))?;
    let store = subject::logged_store(dir)?;
    let mut child = Child {
        session: store.session(),
        live: Vec::new(),
        told: Told { pipe: io::stdout(), group: Vec::with_capacity(GROUP_BYTES_MAX) },
    };
    let mut notes = VecDeque::with_capacity(LAG + 1);
    for (sequence, operation) in (0..OPERATIONS_MAX).zip(Operations::new(seed)) {
        let strict = sequence % STRICT_EACH == STRICT_EACH - 1;
        let id = child.apply(operation, strict)?;
        let lsn = child.session.last_lsn();
        child.told.tell(Message::Done { sequence, lsn: lsn.get(), id: id.to_u64() })?;
        if strict {
            notes.clear();
            child.told.tell_durable(sequence, lsn.get())?;
        }
        if sequence % NOTE_EACH == 0 {
            notes.push_back((sequence, lsn));
        }
        if notes.len() > LAG
            && let Some((sequence, lsn)) = notes.pop_front()
        {
            store
                .wait_durable(lsn, Duration::from_secs(30))
                .map_err(Failure::subject("the child's log does not become durable"))?;
            child.told.tell_durable(sequence, lsn.get())?;
        }
    }
    child.told.flush()?;
    loop {
        std::thread::park();
    }
}

struct Child {
    session: Session,
    live: Vec<TokenId>,
    told: Told<io::Stdout>,
}

impl Child {
    fn apply(&mut self, operation: Operation, strict: bool) -> Result<TokenId, Failure> {
        let level = if strict { Durability::Strict } else { Durability::Balanced };
        let session = self.session.with(level);
        match operation {
            Operation::Create(token) => {
                let id = session.create(&token).map_err(Failure::subject("create"))?;
                self.live.push(id);
                Ok(id)
            }
            Operation::Update(victim, token) => {
                let id = self.live[victim];
                session.update(id, &token).map_err(Failure::subject("update"))?;
                Ok(id)
            }
            Operation::Delete(victim) => {
                let id = self.live.swap_remove(victim);
                session.delete(id).map_err(Failure::subject("delete"))?;
                Ok(id)
            }
        }
    }
}

/// The pipe to the parent, written in groups that the kernel takes whole.
struct Told<W> {
    pipe: W,
    group: Vec<u8>,
}

impl<W: Write> Told<W> {
    fn tell(&mut self, message: Message) -> Result<(), Failure> {
        if self.group.len() + MESSAGE_BYTES > GROUP_BYTES_MAX {
            self.flush()?;
        }
        self.group.extend(message.encode());
        Ok(())
    }

    /// Told at once: the parent holds the store to it from then on.
    fn tell_durable(&mut self, sequence: u64, lsn: u64) -> Result<(), Failure> {
        self.tell(Message::Durable { sequence, lsn })?;
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let written = self.pipe.write_all(&self.group).and_then(|()| self.pipe.flush());
        written.map_err(Failure::io("write to", "the parent's pipe"))?;
        self.group.clear();
        Ok(())
    }
}
