//! The header `traceparent` of W3C Trace Context level 2: the only file that knows its text. What it cannot read it refuses; the caller then begins a new trace, as if there had been none.

use crate::{
    error::ParseTraceParentError,
    id::{SpanId, TraceId},
};
use std::{fmt, ops::Range, str::FromStr};

/// Bytes of version 00, and the fewest of any later one.
const LEN: usize = 55;
const VERSION: Range<usize> = 0..2;
const TRACE_ID: Range<usize> = 3..35;
const PARENT_ID: Range<usize> = 36..52;
const FLAGS: Range<usize> = 53..55;
const DASHES: [usize; 3] = [2, 35, 52];

const FLAG_SAMPLED: u8 = 0x01;
const FLAG_RANDOM: u8 = 0x02;

/// What a `traceparent` says.
///
/// Text: 55 ASCII bytes of version 00, such as
/// `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03`. Source: W3C Trace Context level 2,
/// "traceparent Header".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The trace that the caller is in.
    pub trace_id: TraceId,
    /// The caller's own span.
    pub parent_id: SpanId,
    /// The caller may have recorded its span.
    pub sampled: bool,
    /// At least the low 56 bits of the trace id are random.
    pub random: bool,
}

impl TraceParent {
    /// Reads the value of one header; spaces and tabs around it are no part of it.
    ///
    /// Versions after 00 are read as far as version 00 goes, and flags without a meaning are
    /// forgotten; what is written is always version 00. Errors: the first that is wrong, with its
    /// byte offset.
    pub fn parse(value: &[u8]) -> Result<Self, ParseTraceParentError> {
        let value = trim(value);
        let version = hex(value, VERSION)?;
        if version == 0xff {
            return Err(ParseTraceParentError::Version);
        }
        for offset in DASHES {
            if let Some(byte) = value.get(offset)
                && *byte != b'-'
            {
                return Err(ParseTraceParentError::Separator { offset });
            }
        }
        let trace_id = TraceId::new(hex(value, TRACE_ID)?);
        let parent_id = SpanId::new(hex(value, PARENT_ID)? as u64);
        let flags = hex(value, FLAGS)? as u8;
        match value.get(LEN) {
            None => {}
            Some(b'-') if version > 0 => {} // what a later version has to say, we do not know
            Some(_) if version > 0 => {
                return Err(ParseTraceParentError::Separator { offset: LEN });
            }
            Some(_) => return Err(ParseTraceParentError::Length { found: value.len() }),
        }
        Ok(Self {
            trace_id: trace_id.ok_or(ParseTraceParentError::ZeroTraceId)?,
            parent_id: parent_id.ok_or(ParseTraceParentError::ZeroParentId)?,
            sampled: flags & FLAG_SAMPLED != 0,
            random: flags & FLAG_RANDOM != 0,
        })
    }

    /// The two flags that have a meaning, as the byte that W3C writes.
    pub const fn flags(self) -> u8 {
        (if self.sampled { FLAG_SAMPLED } else { 0 }) | (if self.random { FLAG_RANDOM } else { 0 })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.parent_id, self.flags())
    }
}

impl FromStr for TraceParent {
    type Err = ParseTraceParentError;

    fn from_str(text: &str) -> Result<Self, ParseTraceParentError> {
        Self::parse(text.as_bytes())
    }
}

/// Without the spaces and tabs that a header's value may have around it.
pub(crate) fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// The number that lower-case digits at `place` write. The standard parser would also take `+` and
/// capitals.
fn hex(value: &[u8], place: Range<usize>) -> Result<u128, ParseTraceParentError> {
    let mut number = 0;
    for offset in place {
        let digit = match value.get(offset) {
            Some(byte @ b'0'..=b'9') => byte - b'0',
            Some(byte @ b'a'..=b'f') => byte - b'a' + 10,
            Some(_) => return Err(ParseTraceParentError::Digit { offset }),
            None => return Err(ParseTraceParentError::Length { found: value.len() }),
        };
        number = number << 4 | u128::from(digit);
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const H: &str = "0af7651916cd43dd8448eb211c80319c";
    const P: &str = "b7ad6b7169203331";

    fn parse(text: &str) -> Result<TraceParent, ParseTraceParentError> {
        text.parse()
    }

    #[test]
    fn each_pair_of_flags_is_read_and_written_as_it_came() {
        for (flags, sampled, random) in
            [("00", false, false), ("01", true, false), ("02", false, true), ("03", true, true)]
        {
            let text = format!("00-{H}-{P}-{flags}");
            let parent = parse(&text).unwrap();
            assert_eq!(
                (parent.trace_id, parent.parent_id),
                (H.parse().unwrap(), P.parse().unwrap())
            );
            assert_eq!((parent.sampled, parent.random), (sampled, random));
            assert_eq!(parent.to_string(), text);
        }
    }

    #[test]
    fn flags_without_a_meaning_are_accepted_and_not_written() {
        for (flags, written) in [("ff", "03"), ("08", "00"), ("fe", "02"), ("f1", "01")] {
            let parent = parse(&format!("00-{H}-{P}-{flags}")).unwrap();
            assert_eq!(parent.to_string(), format!("00-{H}-{P}-{written}"));
        }
    }

    #[test]
    fn bad_versions_are_refused() {
        for version in ["ff", ".0", "0.", "0", "000", "0000", "", "FF", "+1", "0A"] {
            assert!(parse(&format!("{version}-{H}-{P}-01")).is_err(), "{version}");
        }
        assert_eq!(parse(&format!("ff-{H}-{P}-01")), Err(ParseTraceParentError::Version));
    }

    #[test]
    fn version_00_has_exactly_55_bytes() {
        for end in [".", "-extra", "-", "x"] {
            let text = format!("00-{H}-{P}-01{end}");
            let found = text.len();
            assert_eq!(parse(&text), Err(ParseTraceParentError::Length { found }), "{text}");
        }
    }

    #[test]
    fn later_versions_are_read_as_far_as_ours_goes_and_written_as_ours() {
        for end in ["", "-extra", "-"] {
            let parent = parse(&format!("cc-{H}-{P}-01{end}")).unwrap();
            assert_eq!(parent.to_string(), format!("00-{H}-{P}-01"));
        }
        let glued = Err(ParseTraceParentError::Separator { offset: 55 });
        assert_eq!(parse(&format!("cc-{H}-{P}-01.extra")), glued);
        assert_eq!(
            parse(&format!("cc-{H}-{P}-0")),
            Err(ParseTraceParentError::Length { found: 54 })
        );
    }

    #[test]
    fn zero_ids_are_refused() {
        let (no_trace, no_parent) = ("0".repeat(32), "0".repeat(16));
        assert_eq!(
            parse(&format!("00-{no_trace}-{P}-01")),
            Err(ParseTraceParentError::ZeroTraceId)
        );
        assert_eq!(
            parse(&format!("00-{H}-{no_parent}-01")),
            Err(ParseTraceParentError::ZeroParentId)
        );
    }

    #[test]
    fn capitals_other_characters_and_fields_one_too_long_or_short_are_refused() {
        let bad = |trace_id: &str, parent_id: &str, flags: &str| {
            let text = format!("00-{trace_id}-{parent_id}-{flags}");
            assert!(parse(&text).is_err(), "{text}");
        };
        bad(&H.to_uppercase(), P, "01");
        bad(H, &P.to_uppercase(), "01");
        bad(H, P, "0A");
        bad(&H.replace('a', "."), P, "01");
        bad(&H.replace('a', "g"), P, "01");
        bad(H, &P.replace('b', "."), "01");
        bad(H, P, ".0");
        bad(H, P, "0.");
        bad(&H[1..], P, "01");
        bad(&format!("{H}a"), P, "01");
        bad(H, &P[1..], "01");
        bad(H, &format!("{P}a"), "01");
        bad(H, P, "1");
        bad(H, P, "001");
        assert!(parse(&format!("00_{H}-{P}-01")).is_err());
    }

    #[test]
    fn spaces_and_tabs_around_the_value_are_no_part_of_it_and_others_are() {
        let text = format!("00-{H}-{P}-01");
        for (before, after) in [(" ", ""), ("\t", " \t"), ("", "\t\t "), (" \t ", " ")] {
            assert_eq!(parse(&format!("{before}{text}{after}")), parse(&text));
        }
        for strange in ["\u{a0}", "\n", "\u{b}"] {
            assert!(parse(&format!("{strange}{text}")).is_err());
        }
        assert!(parse("").is_err() && parse(" \t ").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = TraceParent::parse(&bytes);
        }

        /// Nearly right bytes reach further into the parser than random ones.
        #[test]
        fn a_changed_byte_is_read_as_what_it_writes_or_refused(
            at in 0..55usize, byte in any::<u8>(), flags in 0..4u8
        ) {
            let text = format!("00-{H}-{P}-{flags:02x}");
            let mut bytes = text.clone().into_bytes();
            bytes[at] = byte;
            if let Ok(parent) = TraceParent::parse(&bytes) {
                let written = parent.to_string();
                prop_assert_eq!(TraceParent::parse(written.as_bytes()), Ok(parent));
                prop_assert_eq!(&written.as_bytes()[3..53], &bytes[3..53]);
            }
        }

        #[test]
        fn every_value_survives_its_text(
            trace_id in 1..u128::MAX, parent_id in 1..u64::MAX, sampled: bool, random: bool
        ) {
            let parent = TraceParent {
                trace_id: TraceId::new(trace_id).unwrap(),
                parent_id: SpanId::new(parent_id).unwrap(),
                sampled,
                random,
            };
            prop_assert_eq!(parent.to_string().parse(), Ok(parent));
        }
    }
}
