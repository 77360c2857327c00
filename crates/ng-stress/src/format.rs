//! The bytes between the killed child and its parent: fixed-size messages in a pipe, little-endian.
//!
//! A message is 24 bytes, and messages are written in groups of at most [`GROUP_BYTES_MAX`]: the
//! kernel writes that much into a pipe as a whole or not at all, so a kill never tears a message.

/// Bytes of one message.
pub const MESSAGE_BYTES: usize = 24;

/// Most bytes of one write: PIPE_BUF on Linux.
pub const GROUP_BYTES_MAX: usize = 4096;

/// What the child tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Operation `sequence` (from 0) returned. It has this LSN, and concerned this token.
    Done {
        /// Number of the operation.
        sequence: u64,
        /// Of its record.
        lsn: u64,
        /// The id created, updated or deleted, as a number.
        id: u64,
    },
    /// The store said that all operations up to this one are durable.
    Durable {
        /// Number of the last one covered.
        sequence: u64,
        /// Of its record.
        lsn: u64,
    },
}

/// Set in the first word of a `Durable`; sequences stay far below it.
const DURABLE_BIT: u64 = 1 << 63;

impl Message {
    /// The bytes of this message.
    pub fn encode(self) -> [u8; MESSAGE_BYTES] {
        let words = match self {
            Self::Done { sequence, lsn, id } => [sequence, lsn, id],
            Self::Durable { sequence, lsn } => [sequence | DURABLE_BIT, lsn, 0],
        };
        let mut bytes = [0; MESSAGE_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The message of these bytes; every pattern of 24 bytes is one.
    pub fn decode(bytes: &[u8; MESSAGE_BYTES]) -> Self {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let (sequence, lsn, id) = (word(0), word(8), word(16));
        if sequence & DURABLE_BIT == 0 {
            Self::Done { sequence, lsn, id }
        } else {
            Self::Durable { sequence: sequence & !DURABLE_BIT, lsn }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_went() {
        let done = Message::Done { sequence: 7, lsn: 9, id: u64::MAX };
        let durable = Message::Durable { sequence: 1 << 40, lsn: 3 };
        for message in [done, durable] {
            assert_eq!(Message::decode(&message.encode()), message);
        }
    }
}
