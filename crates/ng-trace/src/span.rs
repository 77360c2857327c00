//! A finished span as its thread writes it: fixed size, `Copy`, no allocation. Names are numbers here; only the drain knows their text.

use crate::{
    clock::Ticks,
    decision::{Odds, Reason, Sampled},
    id::{SpanId, TraceId},
    threshold::Threshold,
};

/// Words that a span takes in the ring.
pub(crate) const SPAN_WORDS: usize = 10;
/// Attributes that a span has room for.
pub const SPAN_ATTRIBUTES_MAX: usize = 2;

/// Number of a name in its collector's table, from [`Collector::name`](crate::Collector::name).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId(pub(crate) u16);

impl NameId {
    /// The name of what has none: `unnamed`. As an attribute's key it means "no attribute".
    pub const UNNAMED: Self = Self(0);
}

/// How the operation ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// Nothing was said.
    #[default]
    Unset,
    /// It succeeded.
    Ok,
    /// It failed.
    Error,
}

/// One finished span. Begin with [`SpanRecord::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpanRecord {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// The span it lies in; `None` for a root.
    pub parent: Option<SpanId>,
    /// When it began.
    pub start: Ticks,
    /// When it ended.
    pub end: Ticks,
    /// Its name.
    pub name: NameId,
    /// How it ended.
    pub status: Status,
    /// The rule that kept it.
    pub reason: Reason,
    /// What its weight follows from.
    pub odds: Odds,
    /// Whether the trace id is known to be random: true for ids made here, the caller's flag for
    /// others.
    pub random_trace_id: bool,
    keys: [NameId; SPAN_ATTRIBUTES_MAX],
    values: [u64; SPAN_ATTRIBUTES_MAX],
}

impl SpanRecord {
    /// A span of a trace that began here, without parent, status and attributes.
    #[inline]
    pub fn new(
        trace_id: TraceId,
        span_id: SpanId,
        name: NameId,
        sampled: Sampled,
        start: Ticks,
        end: Ticks,
    ) -> Self {
        Self {
            trace_id,
            span_id,
            parent: None,
            start,
            end,
            name,
            status: Status::Unset,
            reason: sampled.reason,
            odds: sampled.odds,
            random_trace_id: true,
            keys: [NameId::UNNAMED; SPAN_ATTRIBUTES_MAX],
            values: [0; SPAN_ATTRIBUTES_MAX],
        }
    }

    /// Lies in this span.
    #[inline]
    pub fn with_parent(self, parent: SpanId) -> Self {
        Self { parent: Some(parent), ..self }
    }

    /// Ended like this.
    #[inline]
    pub fn with_status(self, status: Status) -> Self {
        Self { status, ..self }
    }

    /// Adds an attribute. There is room for two; a third replaces the second.
    #[inline]
    pub fn with_attribute(mut self, key: NameId, value: u64) -> Self {
        let place = usize::from(self.keys[0] != NameId::UNNAMED);
        self.keys[place] = key;
        self.values[place] = value;
        self
    }

    /// The attributes set.
    pub fn attributes(&self) -> impl Iterator<Item = (NameId, u64)> + use<> {
        let pairs = self.keys.into_iter().zip(self.values);
        pairs.filter(|(key, _)| *key != NameId::UNNAMED)
    }

    /// How many operations it stands for; `None` if that is not known.
    pub fn weight(&self) -> Option<f64> {
        self.odds.weight()
    }

    /// The threshold that kept it, if one did: what `th` may say.
    pub fn threshold(&self) -> Option<Threshold> {
        self.odds.threshold()
    }

    #[inline(always)]
    pub(crate) fn to_words(self) -> [u64; SPAN_WORDS] {
        let trace_id = self.trace_id.get();
        [
            (trace_id >> 64) as u64,
            trace_id as u64,
            self.span_id.get(),
            self.parent.map_or(0, SpanId::get),
            self.start.get(),
            self.end.get(),
            self.odds.to_bits() | u64::from(self.random_trace_id) << RANDOM_BIT,
            u64::from(self.name.0)
                | u64::from(self.keys[0].0) << 16
                | u64::from(self.keys[1].0) << 32
                | (self.status as u64) << 48
                | (self.reason as u64) << 56,
            self.values[0],
            self.values[1],
        ]
    }

    /// The span that these words are. Ids of zero cannot come from [`SpanRecord::to_words`];
    /// they read as 1, so that this cannot fail.
    pub(crate) fn from_words(words: &[u64; SPAN_WORDS]) -> Self {
        let trace_id = u128::from(words[0]) << 64 | u128::from(words[1]);
        let key = |shift: u32| NameId((words[7] >> shift) as u16);
        Self {
            trace_id: TraceId::new(trace_id).unwrap_or(FIRST_TRACE_ID),
            span_id: SpanId::new(words[2]).unwrap_or(FIRST_SPAN_ID),
            parent: SpanId::new(words[3]),
            start: Ticks::from_raw(words[4]),
            end: Ticks::from_raw(words[5]),
            name: key(0),
            status: match (words[7] >> 48) as u8 {
                1 => Status::Ok,
                2 => Status::Error,
                _ => Status::Unset,
            },
            reason: Reason::from_u8((words[7] >> 56) as u8),
            odds: Odds::from_bits(words[6] & (RANDOM - 1)),
            random_trace_id: words[6] & RANDOM != 0,
            keys: [key(16), key(32)],
            values: [words[8], words[9]],
        }
    }
}

const RANDOM_BIT: u32 = Odds::BITS;
const RANDOM: u64 = 1 << RANDOM_BIT;
const FIRST_TRACE_ID: TraceId = TraceId::new(1).unwrap();
const FIRST_SPAN_ID: SpanId = SpanId::new(1).unwrap();

const _: () = {
    assert!(size_of::<SpanRecord>() <= 96);
    assert!(SPAN_WORDS * 8 == 80); // `ring_bytes` in the config says so
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_survives_the_ring() {
        let sampled = Sampled::by_threshold(Reason::Adaptive, Threshold::from_rate(0.01).unwrap());
        let trace_id = TraceId::new(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c).unwrap();
        let (start, end) = (Ticks::from_raw(u64::MAX - 1), Ticks::from_raw(u64::MAX));
        let span_id = SpanId::new(7).unwrap();
        let plain = SpanRecord::new(trace_id, span_id, NameId(3), sampled, start, end);
        let mut full = plain
            .with_parent(SpanId::new(u64::MAX).unwrap())
            .with_status(Status::Error)
            .with_attribute(NameId(u16::MAX), u64::MAX)
            .with_attribute(NameId(5), 6);
        full.odds = Odds::UNKNOWN;
        full.random_trace_id = false;
        for span in [plain, full, plain.with_status(Status::Ok)] {
            assert_eq!(SpanRecord::from_words(&span.to_words()), span);
        }
        assert_eq!(plain.attributes().count(), 0);
        let attributes: Vec<_> = full.attributes().collect();
        assert_eq!(attributes, [(NameId(u16::MAX), u64::MAX), (NameId(5), 6)]);
    }
}
