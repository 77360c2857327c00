//! The serde forms bring the same id or token back, and refuse what is none.
#![cfg(feature = "serde")]

use ng_core::{EntityType, Flags, Space, Token, TokenId};
use proptest::prelude::*;
use serde::de::value::{Error, SeqDeserializer, U64Deserializer};
use serde::de::{Deserialize, IntoDeserializer};

fn sample() -> Token {
    Token::builder()
        .coordinates(Space::Physical, [1.0, -2.5, 327.67])
        .coordinate(Space::Social, 1, 0.0001)
        .weight(0.1)
        .radius(0.07)
        .strength(0.5)
        .entity_type(EntityType::Goal)
        .flags(Flags::ACTIVE | Flags::LOCKED)
        .domain(3)
        .timestamp(1_700_000_000)
        .build()
        .unwrap()
}

#[test]
fn a_token_reads_as_named_fields_and_comes_back() {
    let text = serde_json::to_string(&sample()).unwrap();
    assert_eq!(
        text,
        r#"{"entity_type":"Goal","flags":"ACTIVE|LOCKED","domain":3,"weight":0.1,"radius":0.07,"strength":0.5019608,"timestamp":1700000000,"coordinates":{"Physical":[1.0,-2.5,327.67],"Social":[null,0.0001,null]}}"#
    );
    assert_eq!(serde_json::from_str::<Token>(&text).unwrap(), sample());
}

#[test]
fn an_id_reads_as_its_text_and_comes_back() {
    let id = TokenId::new(7, 3).unwrap();
    let text = serde_json::to_string(&id).unwrap();
    assert_eq!(text, r#""0000000300000007""#);
    assert_eq!(serde_json::from_str::<TokenId>(&text).unwrap(), id);
    let raw: U64Deserializer<Error> = id.to_u64().into_deserializer();
    // The plain deserializers of serde count as readable: a number is refused there.
    assert!(TokenId::deserialize(raw).is_err());
}

#[test]
fn what_is_no_token_is_refused_with_the_field() {
    let good = serde_json::to_string(&sample()).unwrap();
    for (from, to, said) in [
        (
            "\"weight\":0.1",
            "\"weight\":-1.5",
            "weight is -1.5, expected a finite number of at least 0",
        ),
        ("\"domain\":3", "\"domain\":16", "domain is 16, expected 0 to 15"),
        ("ACTIVE|LOCKED", "ACTIVE|SHINY", "\"SHINY\" is no flag"),
        ("327.67", "327.68", "coordinate 2 of Physical is 327.68"),
        ("\"Goal\"", "\"Wish\"", "unknown variant `Wish`"),
        ("\"domain\"", "\"dominion\"", "unknown field `dominion`"),
    ] {
        let error = serde_json::from_str::<Token>(&good.replace(from, to)).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    for bad in ["\"x\"", "\"0000000200000007\"", "7", "null"] {
        assert!(serde_json::from_str::<TokenId>(bad).is_err(), "{bad}");
    }
    let words: SeqDeserializer<_, Error> = SeqDeserializer::new(std::iter::repeat_n(0u64, 8));
    assert!(Token::deserialize(words).is_err(), "eight numbers are no struct of fields");
}

proptest! {
    #[test]
    fn every_token_comes_back_from_its_text(words in prop::array::uniform6(any::<u64>()), weight in 0.0f32..=f32::MAX, domain in 0u64..16, tail in any::<u64>()) {
        let [a, b, c, d, e, f] = words;
        let token = Token::from_words([a, b, c, d, e, f, domain << 28 | u64::from(weight.to_bits()) << 32, tail]).unwrap();
        let text = serde_json::to_string(&token).unwrap();
        prop_assert_eq!(serde_json::from_str::<Token>(&text).unwrap(), token);
    }
}
