//! A finished span as its thread writes it: fixed size, `Copy`, no allocation. Names are numbers here; only the drain knows their text.

use crate::{
    clock::Ticks,
    decision::{Odds, Reason, Sampled},
    id::{SpanId, TraceId},
    threshold::{Randomness, Threshold},
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

/// What part the operation plays between its caller and those whom it calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SpanKind {
    /// Within the process.
    #[default]
    Internal,
    /// Serves a request from elsewhere.
    Server,
    /// Sends a request elsewhere and waits for the answer.
    Client,
    /// Hands work over and does not wait for it.
    Producer,
    /// Works on what was handed over.
    Consumer,
}

/// Value of an attribute. Texts are names, as the span itself has one: a recorder does not
/// allocate. `T` is the text: a [`NameId`] in a record, the text itself at a sink.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum AttributeValue<T = NameId> {
    /// A number without a sign. OpenTelemetry's integers have one: from 2^63 on it is exported as its
    /// decimal digits, a text, as "Mapping Arbitrary Data to OTLP AnyValue" of its specification
    /// has it. What must have one type whatever it is, such as an id, is better recorded as
    /// [`I64`](Self::I64), bit by bit.
    U64(u64),
    /// A number with a sign.
    I64(i64),
    /// A number with a fraction.
    F64(f64),
    /// Yes or no.
    Bool(bool),
    /// One of the texts that the collector knows.
    Text(T),
}

impl<T> AttributeValue<T> {
    /// The number, if it is one without a sign.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::U64(value) => Some(*value),
            _ => None,
        }
    }

    /// The same value with another text.
    pub(crate) fn map_text<U>(self, text: impl FnOnce(T) -> U) -> AttributeValue<U> {
        match self {
            Self::U64(value) => AttributeValue::U64(value),
            Self::I64(value) => AttributeValue::I64(value),
            Self::F64(value) => AttributeValue::F64(value),
            Self::Bool(value) => AttributeValue::Bool(value),
            Self::Text(value) => AttributeValue::Text(text(value)),
        }
    }
}

impl AttributeValue {
    /// Its type, 0 to 7, and its bits.
    #[inline(always)]
    fn to_bits(self) -> (u8, u64) {
        match self {
            Self::U64(value) => (0, value),
            Self::I64(value) => (1, value as u64),
            Self::F64(value) => (2, value.to_bits()),
            Self::Bool(value) => (3, u64::from(value)),
            Self::Text(value) => (4, u64::from(value.0)),
        }
    }

    fn from_bits(kind: u8, bits: u64) -> Self {
        match kind {
            1 => Self::I64(bits as i64),
            2 => Self::F64(f64::from_bits(bits)),
            3 => Self::Bool(bits != 0),
            4 => Self::Text(NameId(bits as u16)),
            _ => Self::U64(bits),
        }
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),*) => {$(
        impl<T> From<$from> for AttributeValue<T> {
            #[inline(always)]
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}
value_from!(u64 => U64, u32 => U64, i64 => I64, i32 => I64, f64 => F64, bool => Bool);

impl From<NameId> for AttributeValue {
    #[inline(always)]
    fn from(value: NameId) -> Self {
        Self::Text(value)
    }
}

/// Where a span's tracestate is while the span is in a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum StateOf {
    /// It has none.
    #[default]
    None,
    /// Aside, under the span's ids.
    Kept,
    /// There was no room for it. Then nobody knows its `rv`, if it had one.
    Dropped,
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
    /// What part it plays.
    pub kind: SpanKind,
    /// Whether its parent is in another process.
    pub parent_is_remote: bool,
    /// The sampled flag that was sent on to those whom the operation called. False for one that
    /// only its end kept.
    pub sampled_flag: bool,
    /// The drain draws the ids; until then they stand for nothing.
    ids_to_come: bool,
    pub(crate) state: StateOf,
    keys: [NameId; SPAN_ATTRIBUTES_MAX],
    value_kinds: [u8; SPAN_ATTRIBUTES_MAX],
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
            kind: SpanKind::Internal,
            parent_is_remote: false,
            sampled_flag: !sampled.reason.is_tail(),
            ids_to_come: false,
            state: StateOf::None,
            keys: [NameId::UNNAMED; SPAN_ATTRIBUTES_MAX],
            value_kinds: [0; SPAN_ATTRIBUTES_MAX],
            values: [0; SPAN_ATTRIBUTES_MAX],
        }
    }

    /// A span of a trace that nobody hears of before the span is at its sink: no child, no callee. Its
    /// ids are drawn by whoever drains it, which spares the thread that records it the time; as
    /// [`new_trace_id`](crate::LocalSampler::new_trace_id) would, in agreement with the threshold that
    /// `sampled` was kept by. Until then `trace_id` and `span_id` are 1.
    #[inline]
    pub fn lone(name: NameId, sampled: Sampled, start: Ticks, end: Ticks) -> Self {
        let ids_to_come = true;
        Self { ids_to_come, ..Self::new(FIRST_TRACE_ID, FIRST_SPAN_ID, name, sampled, start, end) }
    }

    /// With the ids that were to come.
    pub(crate) fn with_ids_drawn(self, rng: &mut fastrand::Rng) -> Self {
        if !self.ids_to_come {
            return self;
        }
        let threshold = self.threshold().unwrap_or(Threshold::ALWAYS);
        let randomness = Randomness::draw_kept(rng, threshold);
        let (trace_id, span_id) = (TraceId::draw(rng, randomness), SpanId::draw(rng));
        Self { trace_id, span_id, ids_to_come: false, ..self }
    }

    /// Lies in this span.
    #[inline]
    pub fn with_parent(self, parent: SpanId) -> Self {
        Self { parent: Some(parent), ..self }
    }

    /// Lies in this span of another process.
    #[inline]
    pub fn with_remote_parent(self, parent: SpanId) -> Self {
        Self { parent: Some(parent), parent_is_remote: true, ..self }
    }

    /// Plays this part.
    #[inline]
    pub fn with_kind(self, kind: SpanKind) -> Self {
        Self { kind, ..self }
    }

    /// The head had kept it already, and said so to those whom it called.
    #[inline]
    pub fn with_sampled_flag(self, sampled_flag: bool) -> Self {
        Self { sampled_flag, ..self }
    }

    /// Ended like this.
    #[inline]
    pub fn with_status(self, status: Status) -> Self {
        Self { status, ..self }
    }

    /// Adds an attribute. There is room for two; a third replaces the second.
    #[inline]
    pub fn with_attribute(mut self, key: NameId, value: impl Into<AttributeValue>) -> Self {
        let place = usize::from(self.keys[0] != NameId::UNNAMED);
        self.keys[place] = key;
        (self.value_kinds[place], self.values[place]) = value.into().to_bits();
        self
    }

    /// The attributes set.
    pub fn attributes(&self) -> impl Iterator<Item = (NameId, AttributeValue)> + use<> {
        let Self { keys, value_kinds, values, .. } = *self;
        let value = move |place: usize| {
            (keys[place], AttributeValue::from_bits(value_kinds[place], values[place]))
        };
        (0..SPAN_ATTRIBUTES_MAX).map(value).filter(|(key, _)| *key != NameId::UNNAMED)
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
            self.odds.to_bits()
                | u64::from(self.random_trace_id) << RANDOM_BIT
                | u64::from(self.parent_is_remote) << REMOTE_BIT
                | u64::from(self.sampled_flag) << SAMPLED_BIT
                | u64::from(self.ids_to_come) << IDS_BIT
                | (self.state as u64) << STATE_BIT,
            u64::from(self.name.0)
                | u64::from(self.keys[0].0) << 16
                | u64::from(self.keys[1].0) << 32
                | (self.status as u64) << 48
                | u64::from(self.value_kinds[0]) << 50
                | u64::from(self.value_kinds[1]) << 53
                | (self.reason as u64) << 56
                | (self.kind as u64) << 61,
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
            status: match (words[7] >> 48) & 3 {
                1 => Status::Ok,
                2 => Status::Error,
                _ => Status::Unset,
            },
            reason: Reason::from_u8((words[7] >> 56) as u8 & 31),
            odds: Odds::from_bits(words[6] & ((1 << Odds::BITS) - 1)),
            random_trace_id: words[6] >> RANDOM_BIT & 1 != 0,
            kind: match words[7] >> 61 {
                1 => SpanKind::Server,
                2 => SpanKind::Client,
                3 => SpanKind::Producer,
                4 => SpanKind::Consumer,
                _ => SpanKind::Internal,
            },
            parent_is_remote: words[6] >> REMOTE_BIT & 1 != 0,
            sampled_flag: words[6] >> SAMPLED_BIT & 1 != 0,
            ids_to_come: words[6] >> IDS_BIT & 1 != 0,
            state: match words[6] >> STATE_BIT {
                1 => StateOf::Kept,
                2 => StateOf::Dropped,
                _ => StateOf::None,
            },
            keys: [key(16), key(32)],
            value_kinds: [(words[7] >> 50) as u8 & 7, (words[7] >> 53) as u8 & 7],
            values: [words[8], words[9]],
        }
    }
}

const RANDOM_BIT: u32 = Odds::BITS;
const REMOTE_BIT: u32 = Odds::BITS + 1;
const SAMPLED_BIT: u32 = Odds::BITS + 2;
const IDS_BIT: u32 = Odds::BITS + 3;
const STATE_BIT: u32 = Odds::BITS + 4;
const FIRST_TRACE_ID: TraceId = TraceId::new(1).unwrap();
const FIRST_SPAN_ID: SpanId = SpanId::new(1).unwrap();

const _: () = {
    assert!(size_of::<SpanRecord>() <= 96);
    assert!(SPAN_WORDS * 8 == 80); // `ring_bytes` in the config says so
    assert!(STATE_BIT + 2 == 64); // two bits
    assert!(Reason::COUNT <= 32); // five bits
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
            .with_kind(SpanKind::Consumer)
            .with_sampled_flag(false)
            .with_attribute(NameId(u16::MAX), u64::MAX)
            .with_attribute(NameId(5), NameId(u16::MAX));
        full.odds = Odds::UNKNOWN;
        full.random_trace_id = false;
        full.parent_is_remote = true;
        full.state = StateOf::Dropped;
        let mut lone = SpanRecord::lone(NameId(3), sampled, start, end);
        lone.state = StateOf::Kept;
        for span in [plain, full, lone, plain.with_status(Status::Ok)] {
            assert_eq!(SpanRecord::from_words(&span.to_words()), span);
        }
        for reason in (0..Reason::COUNT as u8).map(Reason::from_u8) {
            for kind in [SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer]
            {
                let mut span = plain.with_kind(kind);
                span.reason = reason;
                assert_eq!(SpanRecord::from_words(&span.to_words()), span);
            }
        }
        assert_eq!(plain.attributes().count(), 0);
    }

    #[test]
    fn attributes_keep_their_types_and_values() {
        use AttributeValue::{Bool, F64, I64, Text, U64};
        let sampled = Sampled::by_threshold(Reason::Base, Threshold::ALWAYS);
        let (trace_id, span_id) = (FIRST_TRACE_ID, FIRST_SPAN_ID);
        let (zero, name) = (Ticks::default(), NameId(1));
        let plain = SpanRecord::new(trace_id, span_id, name, sampled, zero, zero);
        for value in [U64(u64::MAX), I64(-7), F64(-0.5), Bool(true), Bool(false), Text(NameId(9))] {
            let other = AttributeValue::from(-1i64);
            let span = plain.with_attribute(NameId(2), value).with_attribute(NameId(3), other);
            let found: Vec<_> = SpanRecord::from_words(&span.to_words()).attributes().collect();
            assert_eq!(found, [(NameId(2), value), (NameId(3), other)]);
        }
    }
}
