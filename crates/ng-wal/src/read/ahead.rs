//! Reading ahead: a thread reads and checks frames while their records are used. It holds a few
//! batches at most, and ends with the reader.

use std::io;

use crate::ReadError;
use crate::home::Home;
use crate::read::frames::Frames;
use crate::read::walk::Frame;
use crate::sync::mpsc::{Receiver, SyncSender, sync_channel};
use crate::sync::{Arc, Mutex, thread};

/// Frames are handed over in batches of about this, so that small ones cost no wake-up each.
const BATCH_BYTES: u64 = 256 << 10;
const BATCH_FRAMES: usize = 1024;
/// Batches that wait, beside the one being filled and the one being used.
const BATCHES: usize = 2;

/// Some frames; then more to come, the end, or what went wrong.
struct Batch {
    frames: std::vec::IntoIter<Frame>,
    then: Then,
}

enum Then {
    More,
    End,
    Failed(ReadError),
}

pub(crate) struct Ahead {
    /// `None` when nothing more will come.
    batches: Option<Receiver<Batch>>,
    current: Batch,
    thread: Option<thread::JoinHandle<()>>,
    /// Where the thread is: in a forked child nobody reads ahead.
    home: Home,
}

impl Ahead {
    /// Goes on with `frames` on a thread; gives them back where there is no second core or thread.
    pub(crate) fn start(frames: Box<Frames>) -> Result<Self, Box<Frames>> {
        if thread::available_parallelism().map_or(1, usize::from) < 2 {
            return Err(frames);
        }
        let io = frames.io();
        let (sender, receiver) = sync_channel(BATCHES);
        let handed = Arc::new(Mutex::new(Some(frames)));
        let taken = handed.clone();
        let body = move || {
            let frames = taken.lock().take();
            if let Some(frames) = frames {
                run(*frames, &sender);
            }
        };
        match thread::Builder::new().name("ng-wal-reader".into()).spawn(body) {
            Ok(thread) => Ok(Self {
                batches: Some(receiver),
                current: Batch { frames: Vec::new().into_iter(), then: Then::More },
                thread: Some(thread),
                home: Home::here(),
            }),
            // Never started, so nobody took them.
            Err(_) => Err(handed.lock().take().unwrap_or_else(|| Box::new(Frames::ended(io)))),
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        loop {
            if let Some(frame) = self.current.frames.next() {
                return Ok(Some(frame));
            }
            match std::mem::replace(&mut self.current.then, Then::End) {
                Then::End => return Ok(None),
                Then::Failed(e) => return Err(e),
                Then::More => {}
            }
            if self.home.check().is_err() {
                return Err(broken(
                    "the reader was made by another process, which forked this one",
                ));
            }
            let batch = self.batches.as_ref().and_then(|batches| batches.recv().ok());
            // A thread that ends without a word has panicked: not the end of the log.
            self.current = batch.ok_or_else(|| broken("the reader's thread panicked"))?;
        }
    }
}

fn broken(what: &'static str) -> ReadError {
    ReadError::Io { operation: "reading ahead", file: ".".into(), source: io::Error::other(what) }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if !self.home.is_here() {
            // There is no thread to end, and it may have held the channel's lock at the fork.
            std::mem::forget((self.batches.take(), self.thread.take()));
            return;
        }
        self.batches = None; // its next hand-over fails, and it ends
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic was told to who read; who drops reads no more
        }
    }
}

/// Frames that gather for a batch.
#[derive(Default)]
struct Gathered {
    frames: Vec<Frame>,
    bytes: u64,
}

impl Gathered {
    /// The batch, when this frame makes it full.
    fn add(&mut self, frame: Frame) -> Option<Vec<Frame>> {
        self.bytes += frame.header.span_bytes();
        self.frames.push(frame);
        let full = self.bytes >= BATCH_BYTES || self.frames.len() >= BATCH_FRAMES;
        full.then(|| std::mem::take(self).frames)
    }
}

fn run(mut source: Frames, sender: &SyncSender<Batch>) {
    let mut gathered = Gathered::default();
    loop {
        let (frames, then) = match source.next() {
            Ok(Some(frame)) => match gathered.add(frame) {
                Some(frames) => (frames, Then::More),
                None => continue,
            },
            Ok(None) => (gathered.frames, Then::End),
            Err(e) => (gathered.frames, Then::Failed(e)),
        };
        let last = !matches!(then, Then::More);
        if sender.send(Batch { frames: frames.into_iter(), then }).is_err() || last {
            return;
        }
        gathered = Gathered::default();
    }
}

/// What `all` shows, shown to `see` on this thread while `all` goes ahead on another. Where there is
/// no second core or thread, `all` runs here.
pub(crate) fn show_ahead<R: Send>(
    all: impl Fn(&mut dyn FnMut(Frame)) -> R + Sync,
    see: &mut dyn FnMut(Frame),
) -> R {
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        return all(see);
    }
    let (sender, receiver) = sync_channel::<Vec<Frame>>(BATCHES);
    let ahead = || {
        // Taken along: the receiver learns by its end that nothing more comes.
        let sender = sender;
        let mut gathered = Gathered::default();
        let result = all(&mut |frame| {
            if let Some(frames) = gathered.add(frame) {
                // Who sees no more has panicked, and that is told where the two meet.
                let _ = sender.send(frames);
            }
        });
        let _ = sender.send(gathered.frames); // as above
        result
    };
    thread::scope(|scope| {
        match thread::Builder::new().name("ng-wal-reader".into()).spawn_scoped(scope, ahead) {
            Ok(thread) => {
                receiver.into_iter().flatten().for_each(&mut *see);
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
            Err(_) => all(see),
        }
    })
}
