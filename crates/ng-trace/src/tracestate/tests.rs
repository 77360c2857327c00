//! Rows of W3C's own harness and of OpenTelemetry's rules for the member `ot`; no bytes may panic.

use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<TraceState, TraceStateError> {
    TraceState::parse([text.as_bytes()])
}

fn state(text: &str) -> TraceState {
    parse(text).unwrap()
}

fn list(members: usize) -> String {
    (0..members).map(|n| format!("k{n}=v{n}")).collect::<Vec<_>>().join(",")
}

#[test]
fn several_headers_are_joined_in_their_order_and_an_empty_one_says_nothing() {
    let headers: [&[u8]; 4] = [b"foo=1,bar=2", b"", b"rojo=1", b" , "];
    assert_eq!(TraceState::parse(headers).unwrap().as_str(), "foo=1,bar=2,rojo=1");
    assert!(TraceState::parse([&b""[..]]).unwrap().is_empty());
    assert!(TraceState::parse([]).unwrap().is_empty());
}

#[test]
fn spaces_and_tabs_around_members_and_empty_members_are_passed_over() {
    assert_eq!(state("foo=1 \t , \t bar=2, \t baz=3").as_str(), "foo=1,bar=2,baz=3");
    assert_eq!(state("foo=1\t \t,\t \tbar=2,\t \tbaz=3").as_str(), "foo=1,bar=2,baz=3");
    assert_eq!(state(" foo=1").as_str(), "foo=1");
    assert_eq!(state("\tfoo=1\t").as_str(), "foo=1");
    assert_eq!(state("foo=1,").as_str(), "foo=1");
    assert_eq!(state(",foo=1,,, ,bar=2").as_str(), "foo=1,bar=2");
}

#[test]
fn a_list_of_32_members_is_kept_and_one_of_33_discarded() {
    assert_eq!(state(&list(32)).members().count(), 32);
    assert_eq!(parse(&list(33)), Err(TraceStateError::TooManyMembers));
    let halves = [list(16), list(17)];
    let halves = halves.each_ref().map(|half| half.as_bytes());
    assert_eq!(TraceState::parse(halves), Err(TraceStateError::TooManyMembers));
}

#[test]
fn keys_of_level_2_are_accepted_and_others_discard_the_list() {
    let longest = "z".repeat(256);
    for key in
        ["foo@", "foo@@bar", "foo@bar@baz", "0foo", "f", "a_-*/@9", "fw529a3039@dt", &longest]
    {
        assert_eq!(state(&format!("{key}=1")).get(key), Some("1"), "{key}");
    }
    let too_long = "z".repeat(257);
    for key in ["@foo", "FOO", "foo.bar", "foo ", "fOo", "", "_foo", "é", &too_long] {
        let index = 1;
        let text = format!("good=1,{key}=1");
        assert_eq!(parse(&text), Err(TraceStateError::Key { index }), "{key}");
    }
    assert_eq!(parse("foo"), Err(TraceStateError::Key { index: 0 }));
}

#[test]
fn printable_values_are_accepted_and_others_discard_the_list() {
    let longest = "v".repeat(256);
    let printable: String = (b' '..=b'~').map(char::from).filter(|c| !",=".contains(*c)).collect();
    for value in ["1", " leading", "a b", ":;!", &longest, &printable] {
        assert_eq!(state(&format!("foo={value}")).get("foo"), Some(value), "{value}");
    }
    let too_long = "v".repeat(257);
    for value in ["bar=baz", "", "é", "\u{7f}", "a\tb", "a\nb", &too_long] {
        let text = format!("foo={value}");
        assert_eq!(parse(&text), Err(TraceStateError::Value { index: 0 }), "{value}");
    }
    assert_eq!(TraceState::parse([&b"foo=\xff"[..]]), Err(TraceStateError::Value { index: 0 }));
}

#[test]
fn equal_keys_never_fail_and_the_leftmost_counts() {
    let mut twice = state("foo=1,bar=3,foo=2");
    assert_eq!((twice.get("foo"), twice.as_str()), (Some("1"), "foo=1,bar=3,foo=2"));
    twice.set("foo", "4").unwrap();
    assert_eq!(twice.as_str(), "foo=4,bar=3");
}

#[test]
fn what_is_set_becomes_the_leftmost_and_the_others_keep_their_order() {
    let mut state = state("a=1,ng=2,b=3");
    state.set("ng", "9").unwrap();
    assert_eq!(state.as_str(), "ng=9,a=1,b=3");
    state.set("c", "4").unwrap();
    assert_eq!(state.as_str(), "c=4,ng=9,a=1,b=3");
    state.remove("ng");
    assert_eq!(state.as_str(), "c=4,a=1,b=3");
    let before = state.clone();
    assert_eq!(state.set("C", "4"), Err(TraceStateError::Key { index: 0 }));
    assert_eq!(state.set("c", "4 "), Err(TraceStateError::Value { index: 0 }));
    assert_eq!(state, before);
}

#[test]
fn our_thirty_third_member_pushes_out_the_rightmost() {
    let mut full = state(&list(32));
    full.set("ng", "1").unwrap();
    assert_eq!((full.members().count(), full.get("k31")), (32, None));
    assert!(full.as_str().starts_with("ng=1,k0=v0,"));
    full.set("k5", "new").unwrap();
    assert_eq!((full.members().count(), full.get("k30")), (32, Some("v30")));
}

#[test]
fn a_list_of_512_is_whole_and_longer_ones_lose_long_members_first_then_from_the_right() {
    let long = format!("long={}", "x".repeat(140));
    let text = format!("{long},{}", list(20));
    let full = state(&text);
    assert_eq!(full.truncated(512), text);
    assert_eq!(full.truncated(text.len() - 1), list(20));
    let short = full.truncated(50);
    assert!(short.len() <= 50 && list(20).starts_with(&*short), "{short}");
    assert_eq!(short, list(8));
    let right = format!("a=1,{long},b=2,{}", long.replace("long", "more"));
    assert_eq!(state(&right).truncated(180), format!("a=1,{long},b=2"));
    assert_eq!(full.truncated(0), "");
}

#[test]
fn th_and_rv_are_read_where_the_member_is_well_formed() {
    let specified = state("ot=rv:6e6d1a75832a2f");
    assert_eq!(specified.randomness(), Some(Randomness::from_low_bits(0x6e_6d1a_7583_2a2f)));
    assert_eq!(specified.threshold(), None);
    let both = state("a=1,ot=th:c;rv:d2ffb1a7b15d01;p:8,b=2");
    assert_eq!(both.threshold(), Threshold::from_rate(0.25));
    assert_eq!(both.randomness(), Some(Randomness::from_low_bits(0xd2_ffb1_a7b1_5d01)));
    assert_eq!(state("ot=th:0").threshold(), Some(Threshold::ALWAYS));
    assert_eq!(state("ot=x:").threshold(), None, "an empty sub-value is well formed");
}

#[test]
fn a_bad_th_or_rv_is_as_none_and_leaves_the_other() {
    for th in ["", "C", "g", "000000000000000", "0x1", "-1"] {
        let bad = state(&format!("ot=th:{th};rv:6e6d1a75832a2f"));
        assert_eq!((bad.threshold(), bad.randomness().is_some()), (None, true), "{th}");
    }
    for rv in ["", "6e6d1a75832a2", "6e6d1a75832a2f0", "6E6d1a75832a2f", "6e6d1a75832a2g"] {
        let bad = state(&format!("ot=th:c;rv:{rv}"));
        assert_eq!((bad.threshold().is_some(), bad.randomness()), (true, None), "{rv}");
    }
}

#[test]
fn a_member_ot_that_breaks_its_grammar_is_as_none_and_goes_alone_when_we_write() {
    let bad =
        ["th", "th:c;", ";th:c", "th:c;th:c", "Th:c", "9th:c", "th:c;x:a b", "th:c;;rv:1", ":c"];
    for ot in bad {
        let text = format!("a=1,ot={ot},b=2");
        let mut state = state(&text);
        assert_eq!((state.threshold(), state.randomness()), (None, None), "{ot}");
        state.set_threshold(Some(Threshold::from_rate(0.5).unwrap()));
        assert_eq!(state.as_str(), "ot=th:8,a=1,b=2", "{ot}");
        let mut state = super::tests::state(&text);
        state.set_threshold(None);
        assert_eq!(state.as_str(), "a=1,b=2", "{ot}");
    }
}

#[test]
fn a_changed_th_moves_the_member_left_and_keeps_its_other_sub_keys() {
    let eighth = Threshold::from_rate(0.125);
    let mut found = state("a=1,ot=p:8;th:c;rv:6e6d1a75832a2f");
    found.set_threshold(eighth);
    assert_eq!(found.as_str(), "ot=th:e;p:8;rv:6e6d1a75832a2f,a=1");
    found.set_threshold(None);
    assert_eq!(found.as_str(), "ot=p:8;rv:6e6d1a75832a2f,a=1");
    let mut only = state("a=1,ot=th:c");
    only.set_threshold(None);
    assert_eq!(only.as_str(), "a=1");
    let mut none = TraceState::default();
    none.set_threshold(None);
    assert!(none.is_empty());
    none.set_threshold(eighth);
    assert_eq!(none.as_str(), "ot=th:e");
}

#[test]
fn an_unchanged_th_leaves_the_list_as_it_is() {
    for text in ["a=1,ot=p:8;th:c;rv:6e6d1a75832a2f,b=2", "a=1,ot=th:c"] {
        let mut found = state(text);
        found.set_threshold(Threshold::from_rate(0.25));
        assert_eq!(found.as_str(), text);
    }
    let mut without = state("a=1,ot=rv:6e6d1a75832a2f");
    without.set_threshold(None);
    assert_eq!(without.as_str(), "a=1,ot=rv:6e6d1a75832a2f");
}

#[test]
fn a_th_for_which_there_is_no_room_is_left_out_and_an_old_one_does_not_stay() {
    let most = format!("x:{}", "y".repeat(256 - 2 - 4));
    for text in [format!("ot={most}"), format!("ot={};th:c", &most[..251])] {
        let mut full = state(&text);
        full.set_threshold(Threshold::from_rate(0.01));
        assert_eq!(full.threshold(), None, "{text}");
        assert!(full.get("ot").unwrap().starts_with("x:yy"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4),
        bytes_max in 0..100usize,
    ) {
        if let Ok(mut state) = TraceState::parse(values.iter().map(Vec::as_slice)) {
            let _ = (state.threshold(), state.randomness());
            prop_assert!(state.truncated(bytes_max).len() <= bytes_max);
            state.set_threshold(Some(Threshold::ALWAYS));
        }
    }

    /// What it writes it also reads, the same; and never more than it may.
    #[test]
    fn nearly_good_lists_are_read_as_what_they_write(
        text in "([a-c]{1,2}(@|=|:|;| |\t|,)?(th|rv|ot)?(:|=)?[0-9a-f]{0,14},?){0,40}",
        value in 0..1u64 << 56,
        bytes_max in 0..600usize,
    ) {
        if let Ok(mut state) = parse(&text) {
            prop_assert_eq!(parse(state.as_str()), Ok(state.clone()));
            let randomness = state.randomness();
            state.set_threshold(Threshold::new(value));
            prop_assert_eq!(state.threshold(), Threshold::new(value));
            prop_assert_eq!(state.randomness(), randomness);
            prop_assert!(state.members().count() <= 32);
            prop_assert_eq!(parse(state.as_str()), Ok(state.clone()));
            let cut = state.truncated(bytes_max).into_owned();
            prop_assert!(cut.len() <= bytes_max && parse(&cut).is_ok());
        }
    }

    #[test]
    fn members_of_ot_in_any_order_keep_rv_and_take_th(
        subs in prop::sample::subsequence(
            vec!["th:c", "rv:6e6d1a75832a2f", "p:8", "r:62", "x1:A.b_-"], 0..=5
        ).prop_shuffle(),
        value in 0..1u64 << 56,
    ) {
        let text = if subs.is_empty() { String::new() } else { format!("ot={}", subs.join(";")) };
        let mut state = parse(&text).unwrap();
        let randomness = state.randomness();
        prop_assert_eq!(randomness.is_some(), subs.contains(&"rv:6e6d1a75832a2f"));
        state.set_threshold(Threshold::new(value));
        prop_assert_eq!(state.threshold(), Threshold::new(value));
        prop_assert_eq!(state.randomness(), randomness);
        state.set_threshold(None);
        let rest = state.get("ot").map_or(0, |ot| ot.split(';').count());
        prop_assert_eq!(rest, subs.iter().filter(|sub| **sub != "th:c").count());
    }
}

#[test]
fn a_list_that_is_cut_for_its_span_keeps_opentelemetrys_member_and_the_order() {
    let long = |key: &str, bytes: usize| format!("{key}={}", "x".repeat(bytes));
    let text = format!("a=1,{},ot=th:8;rv:ffffffffffffff,{},b=2", long("c", 200), long("d", 100));
    let state = TraceState::parse([text.as_bytes()]).unwrap();
    assert_eq!(state.cut_to(1000), state);
    let expected = format!("a=1,ot=th:8;rv:ffffffffffffff,{},b=2", long("d", 100));
    assert_eq!(state.cut_to(200).as_str(), expected);
    assert_eq!(state.cut_to(40).as_str(), "a=1,ot=th:8;rv:ffffffffffffff", "from the right");
    assert_eq!(state.cut_to(27).as_str(), "ot=th:8;rv:ffffffffffffff");
    let plain = TraceState::parse([b"a=1,b=2".as_slice()]).unwrap();
    assert_eq!(plain.cut_to(4).as_str(), "a=1");
}
