//! One event as its recorder states it: a kind, a severity, and four numbers or a short text.
//!
//! Sequence, time and thread are added when it is recorded.

use std::fmt;

use crate::format;

/// What a panic says of a thread without a name.
pub(crate) const UNNAMED: &str = "unnamed";

/// What an event is about. The numbers 0 to 15 belong to this crate, all others to the owner of the
/// recorder, who gives them names at open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(u16);

impl Kind {
    /// The recorder was opened. Numbers: process id, lanes, events per lane, format version.
    pub const STARTED: Kind = Kind(1);
    /// The recorder was dropped in good order. Numbers: events so far.
    pub const STOPPED: Kind = Kind(2);
    /// Ties the recorder's clock to others. Numbers: nanoseconds since the Unix epoch, nanoseconds
    /// of the monotonic clock.
    pub const ANCHOR: Kind = Kind(3);
    /// A text without a kind of its own.
    pub const CUSTOM: Kind = Kind(4);
    /// A thread panicked. Text: the first 32 bytes of the message.
    pub const PANICKED: Kind = Kind(5);
    /// Where it panicked; the event after [`Kind::PANICKED`]. Text: the last 32 bytes of `file:line`.
    pub const PANIC_PLACE: Kind = Kind(6);
    /// Who panicked; the event after [`Kind::PANIC_PLACE`]. Text: the thread's name.
    pub const PANIC_THREAD: Kind = Kind(7);

    /// How many numbers, from 0, this crate keeps for itself.
    pub const RESERVED: u16 = 16;

    pub(crate) const OWN: [(Kind, &'static str); 7] = [
        (Kind::STARTED, "RecorderStarted"),
        (Kind::STOPPED, "RecorderStopped"),
        (Kind::ANCHOR, "Anchor"),
        (Kind::CUSTOM, "Custom"),
        (Kind::PANICKED, "Panicked"),
        (Kind::PANIC_PLACE, "PanicPlace"),
        (Kind::PANIC_THREAD, "PanicThread"),
    ];

    /// The kind with that number; the owner's start at [`Kind::RESERVED`].
    pub const fn new(number: u16) -> Kind {
        Kind(number)
    }

    /// Its number, as it stands in the file.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How bad it is: a number from 1, higher is worse. A reader keeps numbers that it has no word for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Severity(u8);

impl Severity {
    /// Of interest to a developer.
    pub const DEBUG: Severity = Severity(1);
    /// Normal life.
    pub const INFO: Severity = Severity(2);
    /// Not normal, and dealt with.
    pub const WARN: Severity = Severity(3);
    /// An operation failed.
    pub const ERROR: Severity = Severity(4);
    /// A thread or the whole process cannot go on.
    pub const FATAL: Severity = Severity(5);

    /// The severity with that number.
    pub const fn new(number: u8) -> Severity {
        Severity(number)
    }

    /// Its number, as it stands in the file.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its word in a dump, `unknown` for a number without one.
    pub const fn name(self) -> &'static str {
        match self.0 {
            1 => "debug",
            2 => "info",
            3 => "warn",
            4 => "error",
            5 => "fatal",
            _ => "unknown",
        }
    }
}

/// What an event carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fields {
    /// Four numbers; their meaning is the kind's.
    Numbers([u64; 4]),
    /// Up to 32 bytes of text.
    Text(Text),
    /// Of a shape that only a later version of the format knows: as it stands in the file.
    Unknown {
        /// The shape's number.
        shape: u8,
        /// What it carries, as words.
        words: [u64; 4],
    },
}

/// Whether an event is a moment, or one end of something that lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// A moment.
    #[default]
    Instant,
    /// Something begins in this thread.
    Begin,
    /// What began last in this thread under the same kind ends.
    End,
}

/// Up to 32 bytes of UTF-8 without an allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text {
    bytes: [u8; Text::BYTES_MAX],
    len: u8,
}

impl Text {
    /// The longest text. Unit: bytes.
    pub const BYTES_MAX: usize = 32;

    /// As much of the start of `text` as fits, cut between two characters.
    pub(crate) fn start_of(text: &str) -> Text {
        let mut end = text.len().min(Text::BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Text::copied(&text.as_bytes()[..end])
    }

    /// `bytes` beyond what fits are dropped.
    pub(crate) fn copied(bytes: &[u8]) -> Text {
        let len = bytes.len().min(Text::BYTES_MAX);
        let mut text = Text { bytes: [0; Text::BYTES_MAX], len: len as u8 };
        text.bytes[..len].copy_from_slice(&bytes[..len]);
        text
    }

    /// The text; of bytes that another writer made and that are no UTF-8, the part which is.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.len.into()).unwrap_or_default();
        match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An event ready to be recorded: copied whole into one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    kind: Kind,
    severity: Severity,
    shape: u8,
    words: [u64; 4],
}

impl Event {
    /// An event with four numbers.
    pub const fn numbers(kind: Kind, severity: Severity, numbers: [u64; 4]) -> Event {
        Event { kind, severity, shape: format::SHAPE_NUMBERS, words: numbers }
    }

    /// The begin of something that lasts; ended by an [`Event::end`] of the same kind in the same
    /// thread. A viewer shows a slice, and one that a crash left without its end shows what was
    /// going on.
    pub const fn begin(kind: Kind, severity: Severity, numbers: [u64; 4]) -> Event {
        Event { kind, severity, shape: format::SHAPE_BEGIN, words: numbers }
    }

    /// The end of what [`Event::begin`] began.
    pub const fn end(kind: Kind, severity: Severity, numbers: [u64; 4]) -> Event {
        Event { kind, severity, shape: format::SHAPE_END, words: numbers }
    }

    /// An event with a text, of which up to 32 bytes are kept, cut between two characters.
    pub fn text(kind: Kind, severity: Severity, text: &str) -> Event {
        Event::with_text(kind, severity, Text::start_of(text))
    }

    pub(crate) fn with_text(kind: Kind, severity: Severity, text: Text) -> Event {
        Event { kind, severity, shape: text.len, words: format::pack_text(&text.bytes) }
    }

    pub(crate) fn from_parts(kind: Kind, severity: Severity, shape: u8, words: [u64; 4]) -> Event {
        Event { kind, severity, shape, words }
    }

    /// What it is about.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// How bad it is.
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// What it carries.
    pub fn fields(&self) -> Fields {
        match self.shape {
            format::SHAPE_NUMBERS | format::SHAPE_BEGIN | format::SHAPE_END => {
                Fields::Numbers(self.words)
            }
            len if usize::from(len) <= Text::BYTES_MAX => {
                Fields::Text(Text { bytes: format::unpack_text(&self.words), len })
            }
            shape => Fields::Unknown { shape, words: self.words },
        }
    }

    /// Whether it is a moment, or one end of something that lasts.
    pub const fn phase(&self) -> Phase {
        match self.shape {
            format::SHAPE_BEGIN => Phase::Begin,
            format::SHAPE_END => Phase::End,
            _ => Phase::Instant,
        }
    }

    pub(crate) const fn shape(&self) -> u8 {
        self.shape
    }

    pub(crate) const fn words(&self) -> &[u64; 4] {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        let text = "ä".repeat(20); // 40 bytes
        assert_eq!(Text::start_of(&text).as_str(), "ä".repeat(16));
        assert_eq!(Text::start_of(&format!("x{text}")).as_str(), format!("x{}", "ä".repeat(15)));
        // Half a character is not even stored: other readers may be less forgiving than ours.
        assert_eq!(Text::start_of(&format!("x{text}")).len, 31);
        assert_eq!(Text::start_of("short").as_str(), "short");
        assert_eq!(Text::start_of("").as_str(), "");
    }

    #[test]
    fn an_event_gives_back_what_it_was_made_of() {
        let numbers = Event::numbers(Kind::new(77), Severity::WARN, [1, u64::MAX, 0, 4]);
        assert_eq!(numbers.fields(), Fields::Numbers([1, u64::MAX, 0, 4]));
        let text = Event::text(Kind::CUSTOM, Severity::INFO, "0123456789abcdef0123456789abcdef+");
        let Fields::Text(kept) = text.fields() else { panic!("a text became numbers") };
        assert_eq!(kept.as_str(), "0123456789abcdef0123456789abcdef");
        let (begin, end) = (Event::begin, Event::end);
        for (make, phase) in [(begin as fn(_, _, _) -> _, Phase::Begin), (end, Phase::End)] {
            let event: Event = make(Kind::CUSTOM, Severity::INFO, [1, 2, 3, 4]);
            assert_eq!((event.fields(), event.phase()), (Fields::Numbers([1, 2, 3, 4]), phase));
        }
        let later = Event::from_parts(Kind::CUSTOM, Severity::INFO, 33, [5; 4]);
        assert_eq!(later.fields(), Fields::Unknown { shape: 33, words: [5; 4] });
    }
}
