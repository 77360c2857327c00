//! Exemplars: for some of the values that were counted, the trace in which it happened.
//!
//! Only sampled operations write them, so a lock does; one that finds it taken leaves its exemplar
//! out and goes on, since the next sampled operation brings another.

use std::time::SystemTime;

use crate::sync::{Mutex, OnceLock};

/// The trace, and the span of it, in which a value was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceRef {
    /// The W3C trace id, as the big-endian number that its 32 hexadecimal digits are. 0: no trace.
    pub trace_id: u128,
    /// The W3C parent id, as the big-endian number that its 16 hexadecimal digits are. 0: no span;
    /// the page then shows the trace alone.
    pub span_id: u64,
}

/// A value that was counted, with its trace: a page shows the newest of each counter and bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// What was recorded, or by how much a counter rose.
    pub value: u64,
    /// Where.
    pub trace: TraceRef,
    /// When.
    pub at: SystemTime,
}

/// Room for `N` exemplars, made at the first one: most metrics never have any. It may be kilobytes, and so is
/// nowhere on a stack.
pub(crate) struct Exemplars<const N: usize> {
    kept: OnceLock<Mutex<Box<[Option<Exemplar>]>>>,
}

impl<const N: usize> Exemplars<N> {
    pub(crate) fn new() -> Self {
        Self { kept: OnceLock::new() }
    }

    /// Keeps it at `place` in the stead of the last one. Never waits.
    pub(crate) fn keep(&self, place: usize, value: u64, trace: TraceRef) {
        if trace.trace_id == 0 {
            return;
        }
        let exemplar = Exemplar { value, trace, at: SystemTime::now() };
        let kept = self.kept.get_or_init(|| Mutex::new(vec![None; N].into_boxed_slice()));
        if let Some(mut kept) = kept.try_lock() {
            kept[place] = Some(exemplar);
        }
    }

    /// All that are kept now; `None` if there never was one.
    pub(crate) fn read(&self) -> Option<Box<[Option<Exemplar>]>> {
        self.kept.get().map(|kept| kept.lock().clone())
    }

    /// The one at `place`.
    pub(crate) fn read_one(&self, place: usize) -> Option<Exemplar> {
        self.kept.get().and_then(|kept| kept.lock()[place])
    }
}

#[cfg(test)]
#[cfg(not(loom))] // under loom only the models run
mod tests {
    use super::*;

    #[test]
    fn one_who_finds_the_lock_taken_goes_on_without() {
        let exemplars = Exemplars::<2>::new();
        let trace = TraceRef { trace_id: 1, span_id: 2 };
        assert_eq!(exemplars.read(), None);
        exemplars.keep(0, 3, trace);
        let held = exemplars.kept.get().unwrap().lock();
        exemplars.keep(1, 4, trace); // would never return if it waited
        drop(held);
        let kept = exemplars.read().unwrap();
        assert_eq!((kept[0].unwrap().value, kept[1]), (3, None));
    }

    #[test]
    fn no_trace_is_no_exemplar() {
        let exemplars = Exemplars::<1>::new();
        exemplars.keep(0, 3, TraceRef { trace_id: 0, span_id: 2 });
        assert_eq!(exemplars.read(), None);
    }
}
