//! Spans of `tracing` obey the sampler: whole traces or nothing, errors and slow ones all the same, and nothing at a callsite nobody wants.
#![cfg(feature = "tracing-layer")]

use ng_trace::{
    Collector, CollectorConfig, FinishedSpan, MemorySink, Parent, Reason, SampleContext, Sampler,
    SamplerConfig, SpanId, Status, TraceContext, TraceId, TracingConfig, TracingRoots,
    tracing_layer,
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tracing::{
    Level, error, info, info_span, instrument, span, subscriber::Interest, trace_span, warn,
};
use tracing_subscriber::{
    layer::{Filter, Layer, SubscriberExt},
    registry::Registry,
};

const WAIT: Duration = Duration::from_secs(20);

struct Bench {
    sampler: Arc<Sampler>,
    collector: Collector,
    sink: MemorySink,
}

impl Bench {
    fn new(rate: f64, change: impl FnOnce(&mut SamplerConfig)) -> Self {
        let mut config = SamplerConfig::fixed_rate(rate);
        config.slow_threshold = None;
        change(&mut config);
        let sampler = Arc::new(Sampler::new(config).unwrap());
        let sink = MemorySink::new();
        let collector =
            Collector::start(CollectorConfig::default(), Box::new(sink.clone())).unwrap();
        Self { sampler, collector, sink }
    }

    /// Runs `work` on this thread with the layer, and returns the spans it left.
    fn run(&self, work: impl FnOnce(&TracingRoots)) -> Vec<FinishedSpan> {
        let config = TracingConfig::default();
        let (layer, roots) =
            tracing_layer(config, Arc::clone(&self.sampler), self.collector.recorders());
        let subscriber = Registry::default().with(layer);
        tracing::subscriber::with_default(subscriber, || work(&roots));
        self.collector.flush(WAIT).unwrap();
        self.sink.take()
    }
}

#[instrument]
fn outer(fails: bool) {
    inner(7);
    inner(8);
    if fails {
        error!("it failed");
    }
}

#[instrument]
fn inner(number: u64) {
    info!(number, "no event below ERROR is looked at");
}

#[test]
fn traces_are_kept_whole_or_not_at_all_with_the_rate_and_the_weight_of_the_sampler() {
    let bench = Bench::new(0.25, |_| {});
    let operations = 4000;
    let spans = bench.run(|_| (0..operations).for_each(|_| outer(false)));
    let mut traces: HashMap<TraceId, Vec<FinishedSpan>> = HashMap::new();
    for span in spans {
        traces.entry(span.record.trace_id).or_default().push(span);
    }
    // 4 sigma of 4000 draws at a quarter.
    assert!((890..=1110).contains(&traces.len()), "{} traces", traces.len());
    for spans in traces.values() {
        let names: Vec<_> = spans.iter().map(|span| span.name).collect();
        assert_eq!(names, ["inner", "inner", "outer"], "children close first");
        let root = spans[2].record;
        assert_eq!(root.parent, None);
        assert!(spans[..2].iter().all(|span| span.record.parent == Some(root.span_id)));
        let threshold = root.threshold().unwrap();
        assert!(threshold.keeps(root.trace_id.randomness()), "the id agrees with th");
        assert!(spans.iter().all(|span| span.record.weight() == Some(4.0)));
        let fields: Vec<_> = spans[..2].iter().flat_map(|span| span.attributes()).collect();
        assert_eq!(fields[0].0, "number");
        assert_eq!((fields[0].1.as_u64(), fields[1].1.as_u64()), (Some(7), Some(8)));
        // By their own clock: the drain may carry a trace in two rounds, whose wall clocks differ a little.
        let (child, parent) = (spans[0].record, spans[2].record);
        assert!(child.start.get() >= parent.start.get() && child.end.get() <= parent.end.get());
    }
    assert_eq!(bench.sampler.stats().samples_recorded_total, traces.len() as u64);
}

#[test]
fn an_error_below_an_operation_that_was_not_kept_keeps_that_operation() {
    let bench = Bench::new(0.0, |_| {});
    let spans = bench.run(|_| {
        for number in 0..100 {
            outer(number % 10 == 0);
        }
    });
    assert_eq!(spans.len(), 10);
    for span in spans {
        assert_eq!((span.name, span.record.reason), ("outer", Reason::Error));
        assert_eq!((span.record.status, span.record.weight()), (Status::Error, Some(1.0)));
        assert!(!span.record.sampled_flag);
    }
}

#[test]
fn a_slow_operation_is_kept_and_a_kept_one_that_fails_says_so() {
    let slow = Bench::new(0.0, |config| config.slow_threshold = Some(Duration::from_nanos(1)));
    let spans = slow.run(|_| outer(false));
    assert_eq!(spans.len(), 1);
    assert_eq!((spans[0].name, spans[0].record.reason), ("outer", Reason::Slow));
    let all = Bench::new(1.0, |_| {});
    let spans = all.run(|_| outer(true));
    let root = spans[2].record;
    assert_eq!((root.reason, root.status), (Reason::Error, Status::Error));
    assert!(root.sampled_flag, "its head had kept it, and said so");
    assert_eq!(spans[0].record.status, Status::Unset);
}

#[test]
fn the_kill_switch_makes_no_span_at_all_and_is_obeyed_while_running() {
    let bench = Bench::new(1.0, |_| {});
    let spans = bench.run(|_| {
        outer(true);
        bench.sampler.set_enabled(false);
        outer(true);
        bench.sampler.set_enabled(true);
        outer(true);
    });
    assert_eq!(spans.len(), 6);
}

#[test]
fn a_span_goes_on_with_its_callers_trace_as_its_headers_say() {
    let bench = Bench::new(0.0, |_| {});
    let trace_id = TraceId::new(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c).unwrap();
    let caller = SpanId::new(99);
    let context = |sampled| SampleContext::child_of(Parent::new(trace_id, sampled));
    let spans = bench.run(|roots| {
        let request = |context| roots.with_context(&context, caller, || info_span!("request"));
        request(context(true)).in_scope(|| inner(1));
        request(context(false)).in_scope(|| inner(2));
        request(context(false)).in_scope(|| error!("it failed"));
        request(SampleContext::root().forced()).in_scope(|| inner(3));
        info_span!("by the countdown again").in_scope(|| inner(4));
    });
    let names: Vec<_> = spans.iter().map(|span| span.name).collect();
    assert_eq!(names, ["inner", "request", "request", "inner", "request"]);
    let [_, sampled, failed, _, forced] = &spans[..] else { panic!() };
    for span in [sampled, failed] {
        assert_eq!((span.record.trace_id, span.record.parent), (trace_id, caller));
        assert!(span.record.parent_is_remote);
    }
    assert_eq!(spans[0].record.trace_id, trace_id);
    assert_eq!(spans[0].record.parent, Some(sampled.record.span_id));
    assert_eq!(sampled.record.reason, Reason::ParentSampled);
    assert_eq!(failed.record.reason, Reason::Error);
    assert!(!failed.record.sampled_flag, "as it was sent on");
    assert_eq!(forced.record.reason, Reason::Force);
    assert_ne!(forced.record.trace_id, trace_id);
}

#[test]
fn a_callers_tracestate_goes_with_every_span_of_its_operation() {
    let bench = Bench::new(0.0, |_| {});
    let caller = |flags: &str, state: &str| {
        let parent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        TraceContext::read([parent.as_bytes()], [state.as_bytes()]).unwrap()
    };
    let (kept, dropped) = ("v=1,ot=th:8;rv:ffffffffffffff", "v=1,ot=rv:ffffffffffffff");
    let spans = bench.run(|roots| {
        let request = |caller| roots.with_caller(&caller, || info_span!("request"));
        request(caller("03", kept)).in_scope(|| inner(1));
        request(caller("02", dropped)).in_scope(|| error!("it failed"));
        info_span!("another").in_scope(|| inner(2));
    });
    let told: Vec<_> =
        spans.iter().map(|span| (span.name, span.exported_state().to_string())).collect();
    let expected = [("inner", kept), ("request", kept), ("request", dropped)];
    assert_eq!(told, expected.map(|(name, state)| (name, state.to_owned())));
    assert!(spans[1..].iter().all(|span| span.record.parent == SpanId::new(0xb7ad_6b71_6920_3331)));
}

#[test]
fn explicit_parents_are_followed_across_threads() {
    let bench = Bench::new(1.0, |_| {});
    let spans = bench.run(|_| {
        let root = info_span!("root");
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                tracing::dispatcher::with_default(&dispatch, || {
                    info_span!(parent: &root, "elsewhere").in_scope(|| inner(1));
                });
            });
        });
    });
    let find = |name| spans.iter().find(|span| span.name == name).unwrap().record;
    let (root, elsewhere, below) = (find("root"), find("elsewhere"), find("inner"));
    assert_eq!((elsewhere.parent, below.parent), (Some(root.span_id), Some(elsewhere.span_id)));
    assert!(root.trace_id == elsewhere.trace_id && root.trace_id == below.trace_id);
}

struct WantsAll;

impl<S: tracing::Subscriber> Layer<S> for WantsAll {}

#[test]
fn a_callsite_nobody_wants_is_refused_once_and_for_all() {
    let bench = Bench::new(1.0, |_| {});
    let mut config = TracingConfig::default();
    config.targets = vec!["wanted".to_owned()];
    let recorders = bench.collector.recorders();
    let (layer, _) = tracing_layer::<Registry>(config, Arc::clone(&bench.sampler), recorders);
    // Metadata is to be had from an enabled span, so by a subscriber that wants all.
    let spans = tracing::subscriber::with_default(Registry::default().with(WantsAll), || {
        [
            span!(target: "wanted::here", Level::INFO, "a"),
            span!(target: "wanted", Level::DEBUG, "b"),
            span!(target: "other", Level::ERROR, "c"),
            trace_span!("d"),
        ]
        .map(|span| span.metadata().unwrap())
    });
    let interests = spans.map(|meta| Filter::<Registry>::callsite_enabled(layer.filter(), meta));
    assert!(interests[0].is_sometimes());
    assert!(interests[1..].iter().all(Interest::is_never));
    // And with this layer alone such callsites are off where tracing itself looks.
    let spans = bench.run(|_| {
        for _ in 0..10 {
            assert!(span!(Level::TRACE, "too fine").is_disabled());
            warn!("an event of no interest");
        }
        assert!(tracing::level_filters::LevelFilter::current() >= Level::INFO);
    });
    assert!(spans.is_empty());
}
