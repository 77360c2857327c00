//! Tracestates of spans on their way to the sink. A span in a ring has a fixed size, so the few that go on with a caller's trace leave theirs here; as many as there is room for.

use crate::{
    id::{SpanId, TraceId},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    tracestate::TraceState,
};
use std::collections::HashMap;

/// Tracestates at most. Each is some hundred bytes; a header may have thousands.
const STATES_MAX: usize = 4096;
/// Longest one that is kept whole, in bytes: W3C asks for at least 512 to be handed on.
const STATE_BYTES_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct States {
    kept: Mutex<HashMap<(TraceId, SpanId), TraceState>>,
    dropped: AtomicU64,
}

impl States {
    /// Keeps a span's tracestate until it is taken; false: there is no room, and it is counted.
    pub(crate) fn keep(&self, trace_id: TraceId, span_id: SpanId, state: &TraceState) -> bool {
        let mut kept = self.kept.lock();
        if kept.len() >= STATES_MAX {
            self.dropped.fetch_add(1, Relaxed);
            return false;
        }
        kept.insert((trace_id, span_id), state.cut_to(STATE_BYTES_MAX));
        true
    }

    pub(crate) fn take(&self, trace_id: TraceId, span_id: SpanId) -> Option<TraceState> {
        self.kept.lock().remove(&(trace_id, span_id))
    }

    pub(crate) fn dropped_total(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_and_what_finds_none_is_counted() {
        let states = States::default();
        let state = TraceState::parse([&b"a=1"[..]]).unwrap();
        let id = |number: u64| {
            (TraceId::new(u128::from(number) + 1).unwrap(), SpanId::new(number + 1).unwrap())
        };
        let kept = (0..5000).filter(|n| states.keep(id(*n).0, id(*n).1, &state)).count();
        assert_eq!((kept, states.dropped_total()), (STATES_MAX, 5000 - STATES_MAX as u64));
        assert_eq!(states.take(id(7).0, id(7).1), Some(state.clone()));
        assert_eq!(states.take(id(7).0, id(7).1), None);
        assert!(states.keep(id(7).0, id(7).1, &state));
    }
}
