//! A place in a trace as both headers of W3C Trace Context carry it: read from a caller, told to those whom the operation calls. Never fails its caller: what cannot be read is as if it were not there.

use crate::{
    decision::{Decision, Parent, Propagate, SampleContext},
    id::{SpanId, TraceId},
    mutants,
    traceparent::TraceParent,
    tracestate::TraceState,
};

/// Names of the two headers.
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// A place in a trace: what a caller's headers say, or what ours are to say.
///
/// ```
/// use ng_trace::{Sampler, SamplerConfig, SpanId, TraceContext};
///
/// let headers = [
///     ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"),
///     ("tracestate", "vendor=1,ot=th:8;p:1"),
/// ];
/// let headers = headers.map(|(name, value)| (name, value.as_bytes()));
/// let caller = TraceContext::from_headers(headers).unwrap();
/// let sampler = Sampler::new(SamplerConfig::default())?;
/// let decision = sampler.decide(&caller.sample_context());
/// let told = caller.child(&decision, SpanId::new(7).unwrap());
/// assert!(told.parent.sampled);
/// assert_eq!(told.state.as_str(), "ot=p:1,vendor=1", "that id is not kept at th:8");
/// # Ok::<(), ng_trace::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TraceContext {
    /// The header `traceparent`.
    pub parent: TraceParent,
    /// The header `tracestate`.
    pub state: TraceState,
}

impl TraceContext {
    /// Reads the values of all headers of each name, in their order. `None`: begin a new trace.
    ///
    /// Two `traceparent` headers are none, and without a good one the `tracestate` is not looked
    /// at. A bad `tracestate` is forgotten as a whole.
    pub fn read<'v>(
        traceparents: impl IntoIterator<Item = &'v [u8]>,
        tracestates: impl IntoIterator<Item = &'v [u8]>,
    ) -> Option<Self> {
        let mut parents = traceparents.into_iter();
        let parent = TraceParent::parse(parents.next()?).ok()?;
        if parents.next().is_some() {
            return None;
        }
        Some(Self { parent, state: TraceState::parse(tracestates).unwrap_or_default() })
    }

    /// The same from all headers of a request, of any name and in any case.
    pub fn from_headers<'h>(
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])> + Clone,
    ) -> Option<Self> {
        let named = |wanted: &'static str| {
            let headers = headers.clone().into_iter();
            let named = headers.filter(move |(name, _)| name.eq_ignore_ascii_case(wanted));
            named.map(|(_, value)| value)
        };
        Self::read(named(TRACEPARENT), named(TRACESTATE))
    }

    /// The caller, as a decision needs to know it.
    pub fn to_parent(&self) -> Parent {
        let mut parent = Parent::new(self.parent.trace_id, self.parent.sampled);
        parent.random = self.parent.random;
        parent.threshold = self.state.threshold();
        parent.explicit_randomness = self.state.randomness();
        parent
    }

    /// The context of an operation that goes on with this trace.
    pub fn sample_context(&self) -> SampleContext {
        SampleContext::child_of(self.to_parent())
    }

    /// What to tell those whom `span_id` calls, an operation that goes on with this trace.
    ///
    /// The id, its random flag, the `rv` and other vendors' members stay; the sampled flag and `th`
    /// are as the decision has them. While the sampler is switched off all stays, the caller's span
    /// id included: then nobody learns that we were there.
    pub fn child(&self, decision: &Decision, span_id: SpanId) -> Self {
        let mut child = self.clone();
        let (sampled, threshold) = match decision.propagate {
            Propagate::Untouched => return child,
            Propagate::Sampled { threshold } => (true, threshold),
            Propagate::Unsampled => (false, None),
        };
        child.parent.parent_id = span_id;
        child.parent.sampled = sampled;
        if mutants::on("trace-random-flag-lost") {
            child.parent.random = false;
        }
        child.state.set_threshold(threshold);
        child
    }

    /// What to tell those whom `span_id` calls, an operation with which a trace begins; its id is
    /// [random](Decision::new_trace_id). `None` while the sampler is switched off: send nothing.
    pub fn root(decision: &Decision, trace_id: TraceId, span_id: SpanId) -> Option<Self> {
        let (sampled, threshold) = match decision.propagate {
            Propagate::Untouched => return None,
            Propagate::Sampled { threshold } => (true, threshold),
            Propagate::Unsampled => (false, None),
        };
        let mut state = TraceState::default();
        state.set_threshold(threshold);
        let parent = TraceParent { trace_id, parent_id: span_id, sampled, random: true };
        Some(Self { parent, state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Odds, Reason, Sampler, SamplerConfig, Threshold, Verdict};
    use proptest::prelude::*;

    /// R of this id is above every threshold in these tests.
    const H: &str = "0af7651916cd43dd84ffffffffffffff";
    const P: &str = "b7ad6b7169203331";
    const SPAN: SpanId = SpanId::new(0x00f0_67aa_0ba9_02b7).unwrap();

    fn traceparent(flags: &str) -> String {
        format!("00-{H}-{P}-{flags}")
    }

    fn read(traceparents: &[&str], tracestates: &[&str]) -> Option<TraceContext> {
        let bytes = |text: &&'static str| text.as_bytes();
        let leak = |texts: &[&str]| -> Vec<&'static str> {
            texts.iter().map(|text| &*String::leak((*text).to_owned())).collect()
        };
        let (traceparents, tracestates) = (leak(traceparents), leak(tracestates));
        TraceContext::read(traceparents.iter().map(bytes), tracestates.iter().map(bytes))
    }

    fn caller(flags: &str, tracestate: &str) -> TraceContext {
        read(&[&traceparent(flags)], &[tracestate]).unwrap()
    }

    fn sampler(change: impl FnOnce(&mut SamplerConfig)) -> Sampler {
        let mut config = SamplerConfig::fixed_rate(0.25);
        change(&mut config);
        Sampler::new(config).unwrap()
    }

    /// Flag and tracestate that go out.
    fn told(sampler: &Sampler, context: &TraceContext, force: bool) -> (bool, String) {
        let mut asked = context.sample_context();
        asked.force = force;
        let child = context.child(&sampler.decide(&asked), SPAN);
        assert_eq!(child.parent.trace_id, context.parent.trace_id);
        assert_eq!(child.parent.parent_id, SPAN);
        (child.parent.sampled, child.state.to_string())
    }

    #[test]
    fn names_are_taken_in_any_case_and_others_ignored() {
        let value = traceparent("01");
        let with =
            |name| TraceContext::from_headers([("host", &b"x"[..]), (name, value.as_bytes())]);
        for name in ["traceparent", "TraceParent", "TRACEPARENT", "tRaCePaReNt"] {
            assert!(with(name).is_some(), "{name}");
        }
        for name in ["trace-parent", "trace.parent", "traceparent ", "xtraceparent"] {
            assert!(with(name).is_none(), "{name}");
        }
        let both = [
            ("TraceState", &b"foo=1"[..]),
            ("traceparent", value.as_bytes()),
            ("TRACESTATE", b"bar=2"),
            ("trace-state", b"baz=3"),
        ];
        assert_eq!(TraceContext::from_headers(both).unwrap().state.as_str(), "foo=1,bar=2");
    }

    #[test]
    fn two_traceparents_are_none() {
        let (one, other) = (traceparent("01"), traceparent("00"));
        assert!(read(&[&one, &other], &[]).is_none());
        assert!(read(&[&one, &one], &["foo=1"]).is_none());
        assert!(read(&[&one, "bad"], &[]).is_none());
        assert!(read(&[], &["foo=1"]).is_none());
    }

    #[test]
    fn a_bad_traceparent_begins_a_new_trace_however_good_the_tracestate() {
        assert!(read(&["00-bad"], &["foo=1"]).is_none());
    }

    #[test]
    fn a_bad_tracestate_is_forgotten_as_a_whole_and_the_traceparent_stays() {
        for bad in ["foo=1,bar", "foo=1,BAR=2", "foo=1,bar=b=c", "foo=1,bar="] {
            let context = read(&[&traceparent("01")], &["good=1", bad]).unwrap();
            assert_eq!((context.parent.sampled, context.state.is_empty()), (true, true), "{bad}");
        }
    }

    #[test]
    fn the_random_flag_goes_on_as_it_came_and_is_set_on_ids_of_our_own() {
        let sampler = sampler(|_| {});
        for (flags, random) in [("01", false), ("03", true), ("00", false), ("02", true)] {
            let context = caller(flags, "");
            let decision = sampler.decide(&context.sample_context());
            assert_eq!(context.child(&decision, SPAN).parent.random, random, "{flags}");
        }
        let decision = sampler.decide(&SampleContext::root());
        let root = TraceContext::root(&decision, decision.new_trace_id(), SPAN).unwrap();
        assert!(root.parent.random);
    }

    #[test]
    fn an_unsampled_caller_is_told_on_as_such_without_th_and_with_rv() {
        let context = caller("02", "a=1,ot=rv:ffffffffffffff;th:8");
        let sampler = sampler(|_| {});
        assert_eq!(told(&sampler, &context, false), (false, "ot=rv:ffffffffffffff,a=1".into()));
        assert_eq!(
            told(&sampler, &context, true),
            (true, "ot=th:0;rv:ffffffffffffff,a=1".into()),
            "forced here"
        );
    }

    #[test]
    fn a_sampled_callers_th_stands_if_its_id_bears_it_out() {
        let sampler = sampler(|_| {});
        let good = "a=1,ot=th:8,b=2";
        assert_eq!(told(&sampler, &caller("03", good), false), (true, good.into()));
        let lie = caller("03", "a=1,ot=th:8;rv:00000000000000,b=2");
        assert_eq!(told(&sampler, &lie, false), (true, "ot=rv:00000000000000,a=1,b=2".into()));
        let silent = caller("03", "a=1");
        assert_eq!(told(&sampler, &silent, false), (true, "a=1".into()));
    }

    #[test]
    fn sampled_callers_beyond_their_bucket_are_told_on_as_we_decide() {
        let sampler = sampler(|config| config.parent_per_second = 0);
        // Ours is c, a quarter: stricter than 8 and laxer than f.
        assert_eq!(told(&sampler, &caller("03", "ot=th:8"), false), (true, "ot=th:c".into()));
        assert_eq!(told(&sampler, &caller("03", "ot=th:f"), false), (true, "ot=th:f".into()));
        assert_eq!(told(&sampler, &caller("03", "a=1"), false), (true, "a=1".into()), "no th");
        let dropped = caller("03", "ot=th:8;rv:90000000000000");
        assert_eq!(told(&sampler, &dropped, false), (false, "ot=rv:90000000000000".into()));
    }

    #[test]
    fn forced_operations_have_th_zero_until_their_bucket_is_empty() {
        let sampler = sampler(|config| config.force_per_second = 1);
        let context = caller("02", "ot=th:8");
        assert_eq!(told(&sampler, &context, true), (true, "ot=th:0".into()));
        assert_eq!(told(&sampler, &context, true), (false, String::new()), "refused");
    }

    #[test]
    fn while_switched_off_both_headers_go_on_untouched_and_none_begin() {
        let sampler = sampler(|config| config.enabled = false);
        let context = caller("01", "a=1,ot=th:8;rv:00000000000000,b=2");
        let decision = sampler.decide(&context.sample_context().forced());
        assert_eq!(context.child(&decision, SPAN), context);
        let root = sampler.decide(&SampleContext::root());
        assert_eq!(TraceContext::root(&root, H.parse().unwrap(), SPAN), None);
    }

    #[test]
    fn a_trace_that_begins_here_tells_the_th_that_its_id_bears_out() {
        fastrand::seed(8);
        let sampler = sampler(|_| {});
        let mut kept = 0;
        for _ in 0..1000 {
            let decision = sampler.decide(&SampleContext::root());
            let root = TraceContext::root(&decision, decision.new_trace_id(), SPAN).unwrap();
            let quarter = Threshold::from_rate(0.25).unwrap();
            assert_eq!(root.parent.sampled, quarter.keeps(root.parent.trace_id.randomness()));
            assert_eq!(root.state.as_str(), if root.parent.sampled { "ot=th:c" } else { "" });
            kept += usize::from(root.parent.sampled);
        }
        assert!((150..350).contains(&kept));
    }

    #[test]
    fn an_error_kept_at_its_end_changes_nothing_that_was_told() {
        let sampler = sampler(|_| {});
        let context = caller("02", "ot=rv:ffffffffffffff");
        let decision = sampler.decide(&context.sample_context());
        assert_eq!(
            (decision.verdict, decision.reason),
            (Verdict::LocalTail, Reason::ParentUnsampled)
        );
        let end = crate::Outcome::new(true, std::time::Duration::ZERO);
        let kept = sampler.decide_end(&end).unwrap();
        assert_eq!((kept.odds, kept.threshold()), (Odds::CERTAIN, None), "weight 1, no th");
        assert!(!context.child(&decision, SPAN).parent.sampled);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn any_headers_are_read_or_refused(
            headers in prop::collection::vec(
                ("(traceparent|tracestate|[a-z]{0,3})", prop::collection::vec(any::<u8>(), 0..70)),
                0..6,
            )
        ) {
            let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            let _ = TraceContext::from_headers(headers);
        }

        /// Whatever comes in, what goes out is well formed, keeps the trace and its `rv`, and has a
        /// `th` only with a sampled flag and an id that bear it out.
        #[test]
        fn what_goes_out_can_be_read_and_is_true(
            trace_id in 1..u128::MAX, flags in 0..4u8, th in prop::option::of(0..1u64 << 56),
            rv in prop::option::of(0..1u64 << 56), force: bool, per_second in 0..2u32,
        ) {
            let th = th.and_then(Threshold::new).map(|th| format!("th:{th}"));
            let rv_text = rv.map(|rv| format!("rv:{rv:014x}"));
            let subs: Vec<String> = th.into_iter().chain(rv_text).collect();
            let tracestate =
                if subs.is_empty() { "a=1".into() } else { format!("a=1,ot={}", subs.join(";")) };
            let parent = format!("00-{trace_id:032x}-{P}-{flags:02x}");
            let context = TraceContext::read([parent.as_bytes()], [tracestate.as_bytes()]).unwrap();
            let sampler = sampler(|config| {
                (config.force_per_second, config.parent_per_second) = (per_second, per_second);
            });
            let mut asked = context.sample_context();
            asked.force = force;
            let child = context.child(&sampler.decide(&asked), SPAN);
            let (parent, state) = (child.parent.to_string(), child.state.to_string());
            let again = TraceContext::read([parent.as_bytes()], [state.as_bytes()]);
            prop_assert_eq!(again, Some(child.clone()));
            prop_assert_eq!(child.parent.trace_id.get(), trace_id);
            prop_assert_eq!(child.parent.random, flags & 2 != 0);
            prop_assert_eq!(child.state.randomness().map(|rv| rv.get()), rv);
            prop_assert_eq!(child.state.get("a"), Some("1"));
            if let Some(threshold) = child.state.threshold() {
                prop_assert!(child.parent.sampled);
                prop_assert!(threshold.keeps(child.to_parent().randomness()));
            }
        }
    }
}
