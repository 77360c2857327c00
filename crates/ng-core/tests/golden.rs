//! Golden vectors of the v2.0 exchange image: each line of the file has the fields and the 64 bytes.
//!
//! They were packed by another language from the layout alone (24 × i16 at 0, u32 at 48 = id | entity << 24 |
//! domain << 28, u16 flags at 52, f32 weight at 54, u8 radius at 58, u8 strength at 59, u32 seconds at 60, all
//! little-endian). Lines are added and never changed.

use ng_core::{EntityType, Flags, ImageOptions, Space, Token};
use serde_json::Value;

fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or_else(|| panic!("{key} in {row}"))
}

/// The token that a line describes, made by the builder.
fn token(row: &Value) -> Token {
    let mut builder = Token::builder()
        .flags(Flags::from_bits(number(row, "flags") as u16))
        .entity_type(EntityType::ALL[number(row, "entity") as usize])
        .domain(number(row, "domain") as u8)
        .weight(row["weight"].as_f64().unwrap() as f32)
        .radius(number(row, "radius") as f32 / 100.0)
        .strength(number(row, "strength") as f32 / 255.0)
        .timestamp(number(row, "seconds") as u32);
    for (index, raw) in row["coordinates"].as_array().unwrap().iter().enumerate() {
        let (space, raw) = (Space::ALL[index / 3], raw.as_i64().unwrap());
        if raw != i64::from(i16::MIN) {
            builder = builder.coordinate(space, index % 3, raw as f64 / space.scale());
        }
    }
    builder.build().unwrap()
}

fn image(row: &Value) -> [u8; 64] {
    let hex = row["image"].as_str().unwrap();
    let byte = |index: usize| u8::from_str_radix(&hex[index * 2..index * 2 + 2], 16).unwrap();
    std::array::from_fn(byte)
}

#[test]
fn every_golden_image_is_written_and_read_byte_for_byte() {
    let mut lines = 0;
    for line in include_str!("golden/image_v2_0.jsonl").lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let (token, image, name) = (token(&row), image(&row), &row["name"]);
        assert_eq!(token.to_image_with_id(number(&row, "id") as u32), image, "{name}");
        let imported = Token::from_image_counted(&image, ImageOptions::default()).unwrap();
        assert_eq!(imported.token, token, "{name}");
        let ambiguous = row["coordinates"].as_array().unwrap().iter().filter(|c| **c == 127);
        assert_eq!(imported.ambiguous as usize, ambiguous.count(), "{name}");
        lines += 1;
    }
    assert_eq!(lines, 31);
}
