//! What the store's log records hold. The only file of this crate that knows bytes; docs/FORMAT.md draws them.

use ng_core::{Token, TokenId};

/// A token is created or replaced: id (8 bytes), then its eight words.
pub(crate) const PUT: u8 = 1;
/// A token is deleted: id (8 bytes).
pub(crate) const DELETE: u8 = 2;
/// No id at or above this generation is handed out before a higher one is durable: 4 bytes.
pub(crate) const CEILING: u8 = 3;
/// The last record of a clean close: the highest generation ever handed out, 4 bytes.
pub(crate) const CLEAN: u8 = 4;

/// Bytes of a PUT.
pub(crate) const PUT_BYTES: usize = 72;

/// A record as the replay sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operation {
    Put(TokenId, Token),
    Delete(TokenId),
    Ceiling(u32),
    Clean(u32),
}

pub(crate) fn put(id: TokenId, token: &Token) -> [u8; PUT_BYTES] {
    let mut bytes = [0; PUT_BYTES];
    bytes[..8].copy_from_slice(&id.to_u64().to_le_bytes());
    for (place, word) in bytes[8..].chunks_exact_mut(8).zip(token.to_words()) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

pub(crate) fn delete(id: TokenId) -> [u8; 8] {
    id.to_u64().to_le_bytes()
}

/// A PUT or DELETE on its way into a batch.
pub(crate) enum Encoded {
    Put([u8; PUT_BYTES]),
    Delete([u8; 8]),
}

impl Encoded {
    /// Kind and payload.
    pub(crate) fn as_record(&self) -> (u8, &[u8]) {
        match self {
            Encoded::Put(payload) => (PUT, payload),
            Encoded::Delete(payload) => (DELETE, payload),
        }
    }
}

pub(crate) fn generation(generation: u32) -> [u8; 4] {
    generation.to_le_bytes()
}

/// The id that a record of a token begins with, if it is one.
#[inline(always)]
pub(crate) fn id_of(payload: &[u8]) -> Option<TokenId> {
    TokenId::from_u64(u64::from_le_bytes(*payload.first_chunk()?)).ok()
}

/// Errors: what is wrong with the record.
// Inlined: a token handed on through memory is stored by words and loaded by lines, which waits for the
// stores each time; recovery spent a third of its time there.
#[inline(always)]
pub(crate) fn decode(kind: u8, payload: &[u8]) -> Result<Operation, String> {
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
    let wrong = |expected: usize| format!("expected {expected} bytes");
    match (kind, payload.len()) {
        (PUT, PUT_BYTES) => {
            let id = TokenId::from_u64(number(&payload[..8])).map_err(|e| e.to_string())?;
            let mut words = [0; 8];
            for (word, bytes) in words.iter_mut().zip(payload[8..].chunks_exact(8)) {
                *word = number(bytes);
            }
            let token = Token::from_words(words).map_err(|e| e.to_string())?;
            Ok(Operation::Put(id, token))
        }
        (DELETE, 8) => {
            let id = TokenId::from_u64(number(payload)).map_err(|e| e.to_string())?;
            Ok(Operation::Delete(id))
        }
        (CEILING | CLEAN, 4) => {
            let value = payload.try_into().map(u32::from_le_bytes).unwrap_or_default();
            Ok(if kind == CEILING { Operation::Ceiling(value) } else { Operation::Clean(value) })
        }
        (PUT, _) => Err(wrong(PUT_BYTES)),
        (DELETE, _) => Err(wrong(8)),
        (CEILING | CLEAN, _) => Err(wrong(4)),
        _ => Err("this build knows kinds 1 to 4".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let id = TokenId::new(7, 9).unwrap();
        let token = Token::builder().weight(0.5).domain(3).timestamp(77).build().unwrap();
        assert_eq!(decode(PUT, &put(id, &token)), Ok(Operation::Put(id, token)));
        assert_eq!(decode(DELETE, &delete(id)), Ok(Operation::Delete(id)));
        assert_eq!(decode(CEILING, &generation(4096)), Ok(Operation::Ceiling(4096)));
        assert_eq!(decode(CLEAN, &generation(11)), Ok(Operation::Clean(11)));
    }

    #[test]
    fn records_that_no_store_wrote_are_refused_with_a_reason() {
        let id = TokenId::new(7, 9).unwrap();
        let mut bytes = put(id, &Token::builder().build().unwrap());
        assert!(decode(PUT, &bytes[..71]).unwrap_err().contains("expected 72"));
        bytes[4] = 8; // an even generation
        assert!(decode(PUT, &bytes).unwrap_err().contains("even generation"));
        bytes[4] = 9;
        bytes[56] = 1; // a bit below the token's part of word 6
        assert!(decode(PUT, &bytes).unwrap_err().contains("word 6"));
        assert!(decode(DELETE, &[1; 9]).is_err());
        assert!(decode(9, &[]).unwrap_err().contains("kinds 1 to 4"));
    }
}
