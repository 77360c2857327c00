//! Plain numbers for whoever watches. Fields named `_total` only grow; the others are levels.

/// What a sampler did so far. Read field by field, so sums may miss decisions in flight; a
/// countdown reports at its stops, so up to 4096 operations a thread are not yet in.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SamplerStats {
    /// Operations decided about: the two below together.
    pub samples_total: u64,
    /// Operations kept at their head.
    pub samples_recorded_total: u64,
    /// Operations not kept at their head.
    pub samples_skipped_total: u64,
    /// Of those, operations that the rate kept and the ceiling above `spans_per_second` refused.
    /// Those which it let through within a second of a refusal have no weight.
    pub samples_capped_total: u64,
    /// Operations kept because the caller forced it.
    pub forced_total: u64,
    /// Forced operations that exceeded `force_per_second`.
    pub force_capped_total: u64,
    /// Operations kept because their caller's trace is sampled.
    pub parent_sampled_total: u64,
    /// Operations not kept at their head because their caller's trace is not sampled.
    pub parent_unsampled_total: u64,
    /// Operations with a sampled caller that exceeded `parent_per_second`.
    pub parent_capped_total: u64,
    /// Operations whose caller did not say that its trace id is random; it was presumed to be.
    pub parent_not_random_total: u64,
    /// Custom rates that were not a number from 0 to 1.
    pub custom_rate_ignored_total: u64,
    /// Operations that ended in an error, kept or not.
    pub error_operations_total: u64,
    /// Operations kept for their error alone.
    pub error_kept_total: u64,
    /// Errors that exceeded `error_per_second`.
    pub error_capped_total: u64,
    /// Operations at or above the slow threshold, kept or not.
    pub slow_operations_total: u64,
    /// Operations kept for their duration alone.
    pub slow_kept_total: u64,
    /// Slow operations that exceeded `slow_per_second`.
    pub slow_capped_total: u64,
    /// Steps of the controller.
    pub controller_steps_total: u64,
    /// Times that operations came so much faster than expected that the rate was lowered between
    /// two steps.
    pub brakes_total: u64,
    /// Changes of the rate, by the controller or by hand.
    pub rate_changes_total: u64,
    /// The rate in force. Unit: share; 0 while switched off.
    pub rate: f64,
    /// Countdowns alive.
    pub local_samplers: u64,
}

/// What a collector did so far. Every span that was offered is in exactly one of five: offered =
/// exported + lost + dropped + capped + in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectorStats {
    /// Spans given to recorders: those that entered a ring, and those that were dropped or capped.
    pub spans_offered_total: u64,
    /// Spans that entered a ring.
    pub spans_recorded_total: u64,
    /// Spans refused because their ring had no room: it was full, or had no memory.
    pub spans_dropped_total: u64,
    /// Those of `spans_dropped_total` for which the memory budget refused a block.
    pub spans_refused_total: u64,
    /// Spans refused because `spans_per_second_max` was reached.
    pub spans_capped_total: u64,
    /// Spans which the sink took.
    pub spans_exported_total: u64,
    /// Spans lost because the sink refused them, failed or panicked, or because the collector had ended
    /// before their recorder.
    pub spans_lost_total: u64,
    /// Spans in the rings and at the sink, which are neither exported nor lost yet. A level.
    pub spans_in_flight: u64,
    /// Rounds of the drain through all rings.
    pub drains_total: u64,
    /// Batches given to the sink.
    pub batches_total: u64,
    /// Calls of the sink that returned an error.
    pub sink_errors_total: u64,
    /// Calls of the sink that panicked.
    pub sink_panics_total: u64,
    /// What the newest of those errors said, with its causes.
    pub last_sink_error: Option<String>,
    /// Names refused because the table was full.
    pub names_refused_total: u64,
    /// Spans that reached the sink without their tracestate, for there was no room for it.
    pub trace_states_dropped_total: u64,
    /// Recorders alive.
    pub recorders: u64,
    /// Memory for spans held now: in rings, and emptied blocks kept for the next spans. Unit: bytes.
    pub ring_bytes: u64,
    /// The most that it ever was. Unit: bytes.
    pub ring_bytes_max: u64,
}
