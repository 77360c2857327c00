//! One rule for signs and rounding at each door: a number in steps is rounded first, ties to the even
//! step, and then held against its range; −0 is 0; a weight is not rounded.
//!
//! A weight of −0 was refused, by the builder and in an image, while a radius of −0.005 passed.
#![allow(clippy::print_stdout, reason = "a random test tells its seed")]

use ng_core::{ImageOptions, Space, Token, TokenBuilder, TokenError};

/// The nearest step by another way than the code's own, or `None` for not a number.
fn nearest_step(scaled: f64) -> Option<f64> {
    if scaled.is_nan() || scaled.is_infinite() {
        return None;
    }
    let (below, part) = (scaled.floor(), scaled - scaled.floor());
    let odd = below % 2.0 != 0.0;
    Some(if part > 0.5 || (part == 0.5 && odd) { below + 1.0 } else { below })
}

fn step_in(scaled: f64, low: i32, high: i32) -> Option<i32> {
    let step = nearest_step(scaled)?;
    (f64::from(low)..=f64::from(high)).contains(&step).then_some(step as i32)
}

/// What every door must do with a weight: `most` is the builder's 1, or what can be decoded.
fn weight_kept(value: f32, most: f32) -> Option<u32> {
    (0.0..=most).contains(&value).then(|| value.abs().to_bits())
}

fn from_image(weight: f32) -> Result<Token, TokenError> {
    let mut image = Token::builder().build().unwrap().to_image();
    image[54..58].copy_from_slice(&weight.to_le_bytes());
    Token::from_image(&image, ImageOptions::default())
}

fn from_words(weight: f32) -> Result<Token, TokenError> {
    let mut words = Token::builder().build().unwrap().to_words();
    words[6] |= u64::from(weight.to_bits()) << 32;
    Token::from_words(words)
}

fn bits(token: Result<Token, TokenError>) -> Option<u32> {
    token.ok().map(|token| token.weight().to_bits())
}

fn check_weight(value: f32) {
    let built = Token::builder().weight(value).build();
    assert_eq!(bits(built.clone()), weight_kept(value, 1.0), "builder, {value:?}");
    let decoded = weight_kept(value, f32::MAX);
    assert_eq!(bits(from_image(value)), decoded, "image, {value:?}");
    assert_eq!(bits(from_words(value)), decoded, "words, {value:?}");
    if let (Ok(built), Ok(read)) = (built, from_image(value)) {
        assert_eq!(built, read, "a weight that both take makes the same token: {value:?}");
    }
    #[cfg(feature = "serde")]
    check_weight_text(value);
}

/// JSON has no way to write what is not finite.
#[cfg(feature = "serde")]
fn check_weight_text(value: f32) {
    if value.is_finite() {
        let text = serde_json::to_string(&Token::builder().build().unwrap()).unwrap();
        let text = text.replace("\"weight\":0.0", &format!("\"weight\":{value:?}"));
        let read = serde_json::from_str::<Token>(&text).ok().map(|token| token.weight().to_bits());
        assert_eq!(read, weight_kept(value, f32::MAX), "text, {value:?}");
    }
}

type Set = fn(TokenBuilder, f32) -> TokenBuilder;

fn check_byte(name: &str, set: Set, steps: f32, raw: fn(&Token) -> u8, value: f32) {
    let token = set(Token::builder(), value).build().ok();
    let expected = step_in(f64::from(value * steps), 0, 255);
    assert_eq!(token.map(|token| i32::from(raw(&token))), expected, "{name}, {value:?}");
}

fn check_bytes(value: f32) {
    let raw_radius = |token: &Token| token.to_image()[58];
    check_byte("radius", TokenBuilder::radius, 100.0, raw_radius, value);
    check_byte("strength", TokenBuilder::strength, 255.0, Token::raw_strength, value);
}

fn check_coordinate(space: Space, value: f64) {
    let checked = Token::builder().coordinate(space, 1, value).build();
    let expected = step_in(value * space.scale(), -32_767, 32_767);
    let raw = checked.as_ref().ok().map(|token| i32::from(token.raw(space, 1)));
    assert_eq!(raw, expected, "{space:?}, {value:?}");
    let saturated = Token::builder().coordinates_saturating(space, [value; 3]).build().unwrap();
    let clamped = match expected {
        Some(step) => step,
        None if value.is_nan() => i32::from(i16::MIN), // undefined
        None if value > 0.0 => 32_767,
        None => -32_767,
    };
    assert_eq!(i32::from(saturated.raw(space, 1)), clamped, "saturating, {space:?}, {value:?}");
    if let Ok(token) = checked {
        let shown = token.coordinate(space, 1).unwrap();
        let again = Token::builder().coordinate(space, 1, shown).build();
        assert_eq!(again, Ok(token), "what is shown is taken again: {value:?}");
        assert!((shown - value).abs() * space.scale() <= 0.5 + 1e-9, "{value:?} became {shown:?}");
    }
}

#[test]
fn the_examples_of_both_sides_go_by_the_same_rule() {
    assert_eq!(Token::builder().weight(-0.0).build(), Token::builder().weight(0.0).build());
    assert_eq!(from_image(-0.0), from_image(0.0));
    assert_eq!(from_words(-0.0), from_words(0.0));
    assert_eq!(from_image(-0.0).unwrap().to_image()[54..58], [0; 4], "and is written as 0");
    let radius = |value| Token::builder().radius(value).build().map(|token| token.radius());
    assert_eq!((radius(-0.0), radius(-0.005), radius(2.554)), (Ok(0.0), Ok(0.0), Ok(2.55)));
    assert_eq!(radius(-0.006), Err(TokenError::Radius { value: -0.006 }));
    assert_eq!(radius(2.556), Err(TokenError::Radius { value: 2.556 }));
    let step = |value| Token::builder().coordinate(Space::Physical, 0, value).build();
    assert_eq!(step(327.674).unwrap().raw(Space::Physical, 0), 32_767);
    assert_eq!(step(-327.674).unwrap().raw(Space::Physical, 0), -32_767);
    assert!(step(327.675).is_err() && step(-327.675).is_err(), "a tie goes to the even 32,768");
    assert_eq!(step(-0.0).unwrap(), step(0.0).unwrap());
}

#[test]
fn a_weight_beyond_one_is_decoded_and_comes_back_and_the_builder_refuses_it() {
    for weight in [1.0_f32.next_up(), 2.5, f32::MAX] {
        let token = from_image(weight).unwrap();
        assert_eq!(Token::from_image(&token.to_image(), ImageOptions::default()), Ok(token));
        assert_eq!(Token::from_words(token.to_words()), Ok(token));
        let refused = Token::builder().weight(weight).build();
        assert_eq!(refused, Err(TokenError::Weight { value: weight }));
    }
    let text = from_image(f32::NAN).unwrap_err().to_string();
    assert_eq!(text, "weight is NaN, expected a finite number of at least 0");
}

#[test]
fn every_boundary_of_every_number_goes_by_the_rule() {
    let singles =
        [0.0, f32::MIN_POSITIVE, f32::from_bits(1), 1.0, 2.55, f32::MAX, f32::INFINITY, f32::NAN];
    let near = |value: f32| [value.next_down(), value, value.next_up()];
    for value in singles.into_iter().flat_map(near).flat_map(|value| [value, -value]) {
        check_weight(value);
        check_bytes(value);
        Space::ALL.into_iter().for_each(|space| check_coordinate(space, f64::from(value)));
    }
    // Each half and each whole step from below the range to above it, and its neighbours.
    for half_step in -6..=516_i16 {
        for steps in [100.0, 255.0] {
            let value = f32::from(half_step) / 2.0 / steps;
            near(value).into_iter().for_each(check_bytes);
        }
    }
    for space in Space::ALL {
        let ends = (-65_540..=-65_530).chain(-6..=6).chain(65_530..=65_540);
        for half_step in ends.map(f64::from) {
            let value = half_step / 2.0 / space.scale();
            let near = [value.next_down(), value, value.next_up()];
            near.into_iter().for_each(|value| check_coordinate(space, value));
        }
    }
}

#[test]
fn any_number_whatsoever_goes_by_the_rule() {
    let seed = std::env::var("NG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("NG_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..50_000 {
        let any = f32::from_bits(random.u32(..));
        let near_the_range = (random.f32() - 0.25) * 4.0;
        for value in [any, near_the_range] {
            check_weight(value);
            check_bytes(value);
        }
        let space = Space::ALL[random.usize(..8)];
        check_coordinate(space, f64::from_bits(random.u64(..)));
        check_coordinate(space, (random.f64() - 0.5) * 2.2 * 32_767.0 / space.scale());
    }
}
