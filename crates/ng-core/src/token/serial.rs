//! The serde forms of ids and tokens, behind the feature `serde`. What comes in is checked like everything else.
//!
//! Where people read, an id is its text and a token a struct of named fields whose numbers bring exactly
//! the same token back; where they do not, an id is one number and a token its eight words.

use crate::id::TokenId;
use crate::token::{EntityType, Flags, Space, Token, TokenError};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

impl Serialize for TokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.to_u64())
        }
    }
}

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TokenId, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            TokenId::from_u64(u64::deserialize(deserializer)?).map_err(D::Error::custom)
        }
    }
}

/// A token where people read. Spaces without a coordinate are left out, undefined ones are null.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Readable {
    entity_type: EntityType,
    flags: String,
    domain: u8,
    weight: f32,
    radius: f32,
    strength: f32,
    timestamp: u32,
    #[serde(default)]
    coordinates: BTreeMap<Space, [Option<f64>; 3]>,
}

impl Readable {
    fn of(token: &Token) -> Readable {
        let spaces = Space::ALL
            .into_iter()
            .map(|space| (space, [0, 1, 2].map(|axis| token.coordinate(space, axis))));
        Readable {
            entity_type: token.flags().entity_type(),
            flags: token.flags().to_string(),
            domain: token.domain(),
            weight: token.weight(),
            radius: token.radius(),
            strength: token.strength(),
            timestamp: token.timestamp(),
            coordinates: spaces.filter(|(_, axes)| axes.iter().any(Option::is_some)).collect(),
        }
    }

    fn token(self, flags: Flags) -> Result<Token, TokenError> {
        let mut builder = Token::builder()
            .flags(flags)
            .entity_type(self.entity_type)
            .domain(self.domain)
            .weight_decoded(self.weight)
            .radius(self.radius)
            .strength(self.strength)
            .timestamp(self.timestamp);
        for (space, axes) in self.coordinates {
            for (axis, value) in axes.into_iter().enumerate() {
                if let Some(value) = value {
                    builder = builder.coordinate(space, axis, value);
                }
            }
        }
        builder.build()
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            Readable::of(self).serialize(serializer)
        } else {
            self.to_words().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Token, D::Error> {
        if deserializer.is_human_readable() {
            let readable = Readable::deserialize(deserializer)?;
            let flags = readable.flags.parse().map_err(D::Error::custom)?;
            readable.token(flags).map_err(D::Error::custom)
        } else {
            Token::from_words(<[u64; 8]>::deserialize(deserializer)?).map_err(D::Error::custom)
        }
    }
}
