//! A `tracing` layer: spans of `#[instrument]` and its kin obey the same sampler and go into the same rings. The only file that knows tracing's types.
//!
//! A span without a parent is an operation, and its thread's countdown decides about it; all below
//! it follow. Below an operation that was not kept the filter says no to every span, so this layer
//! does nothing for them; tracing's registry has a slot for each all the same, since one filter
//! cannot speak for the others. The operation itself is followed to its end, which may still keep
//! it: an event of level ERROR within it makes it an error, and its duration may be slow.
//!
//! Callsites that are not wanted (their level, their target, events below ERROR) are refused once
//! and for all, so they cost what `tracing` costs when it is disabled, if all layers of the
//! subscriber are filtered like this one; a single unfiltered one keeps every callsite alive.
//!
//! A field becomes an attribute if it is a number or a bool; there is room for the first two.
//! Texts are not taken: a recorder does not allocate.

use crate::{
    clock::{Clock, Ticks},
    collector::{Recorders, SpanRecorder},
    context::TraceContext,
    decision::{SampleContext, Sampled},
    id::{SpanId, TraceId},
    local::LocalSampler,
    sampler::Sampler,
    span::{AttributeValue, NameId, SPAN_ATTRIBUTES_MAX, SpanRecord, Status},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    tracestate::TraceState,
};
use std::{cell::RefCell, collections::HashMap, fmt};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_subscriber::{
    filter::Filtered,
    layer::{Context, Filter, Layer},
    registry::LookupSpan,
};

/// Settings of a tracing layer. Fields are public: take the default and assign.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TracingConfig {
    /// Spans up to this level are wanted. Range: any level. Default: INFO.
    pub level: Level,
    /// Prefixes of the targets whose spans are wanted, such as `my_crate`. Range: empty means
    /// all. Default: all.
    pub targets: Vec<String>,
}

impl Default for TracingConfig {
    fn default() -> Self {
        Self { level: Level::INFO, targets: Vec::new() }
    }
}

impl TracingConfig {
    fn wants(&self, meta: &Metadata<'_>) -> bool {
        let level = if meta.is_span() { self.level } else { Level::ERROR };
        let under = |prefix: &String| meta.target().starts_with(prefix.as_str());
        *meta.level() <= level && (self.targets.is_empty() || self.targets.iter().any(under))
    }
}

/// A layer with its filter, for `tracing_subscriber::registry().with(…)`.
pub type TracingLayer<S> = Filtered<SpanLayer, SampleFilter, S>;

/// A layer that records what `sampler` keeps through `recorders`, and a handle by which a span can
/// be told of the headers it came with.
pub fn tracing_layer<S>(
    config: TracingConfig,
    sampler: Arc<Sampler>,
    recorders: Recorders,
) -> (TracingLayer<S>, TracingRoots)
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    static LAYERS: AtomicU64 = AtomicU64::new(0);
    let shared = Arc::new(Shared {
        number: LAYERS.fetch_add(1, Relaxed),
        config,
        sampler,
        clock: recorders.clock(),
        recorders,
    });
    let filter = SampleFilter(Arc::clone(&shared));
    (SpanLayer(Arc::clone(&shared)).with_filter(filter), TracingRoots(shared))
}

#[derive(Debug)]
struct Shared {
    /// Which layer of this process it is.
    number: u64,
    config: TracingConfig,
    sampler: Arc<Sampler>,
    recorders: Recorders,
    clock: Clock,
}

/// Records spans. Made by [`tracing_layer`].
#[derive(Debug)]
pub struct SpanLayer(Arc<Shared>);

/// Says no where no span is to be. Made by [`tracing_layer`].
#[derive(Debug)]
pub struct SampleFilter(Arc<Shared>);

/// Tells the next operation on this thread whence it comes. Made by [`tracing_layer`].
#[derive(Clone, Debug)]
pub struct TracingRoots(Arc<Shared>);

impl TracingRoots {
    /// Runs `make`, which makes a span without a parent, such as `|| info_span!("request")`: it is
    /// decided by `context` instead of by the countdown, and goes on with its caller's trace, as
    /// a child of the span `caller` there.
    pub fn with_context<R>(
        &self,
        context: &SampleContext,
        caller: Option<SpanId>,
        make: impl FnOnce() -> R,
    ) -> R {
        self.with_origin(Origin { context: *context, caller, told: None }, make)
    }

    /// The same for a caller's headers. The spans also carry the tracestate that goes with what was
    /// decided: sinks export it with them.
    pub fn with_caller<R>(&self, caller: &TraceContext, make: impl FnOnce() -> R) -> R {
        let context = caller.sample_context();
        let origin = Origin {
            context,
            caller: Some(caller.parent.parent_id),
            told: Some(Arc::new(caller.clone())),
        };
        self.with_origin(origin, make)
    }

    fn with_origin<R>(&self, origin: Origin, make: impl FnOnce() -> R) -> R {
        self.0.with_local(|local| local.origin = Some(origin));
        let made = make();
        self.0.with_local(|local| local.origin = None);
        made
    }
}

/// Where an operation comes from.
#[derive(Clone, Debug)]
struct Origin {
    context: SampleContext,
    caller: Option<SpanId>,
    /// The caller's headers, if all of them are known.
    told: Option<Arc<TraceContext>>,
}

/// What one thread has of one layer.
struct Local {
    layer: u64,
    /// How deep it is within operations that were kept, and within those that were not.
    kept_depth: u32,
    silent_depth: u32,
    origin: Option<Origin>,
    sampler: LocalSampler,
    /// Made with the first span recorded: its ring takes memory.
    recorder: Option<SpanRecorder>,
    names: HashMap<&'static str, NameId>,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("layer", &self.layer).finish_non_exhaustive()
    }
}

thread_local! {
    /// One for each layer; in nearly every program one.
    static LOCALS: RefCell<Vec<Local>> = const { RefCell::new(Vec::new()) };
}

impl Shared {
    /// `None` while the thread ends.
    fn with_local<R>(&self, use_it: impl FnOnce(&mut Local) -> R) -> Option<R> {
        let found = LOCALS.try_with(|locals| {
            let mut locals = locals.try_borrow_mut().ok()?;
            let place = locals.iter().position(|local| local.layer == self.number);
            let place = place.unwrap_or_else(|| {
                locals.push(self.new_local());
                locals.len() - 1
            });
            Some(use_it(&mut locals[place]))
        });
        found.ok().flatten()
    }

    fn new_local(&self) -> Local {
        Local {
            layer: self.number,
            kept_depth: 0,
            silent_depth: 0,
            origin: None,
            sampler: self.sampler.local(),
            recorder: None,
            names: HashMap::new(),
        }
    }

    /// Depths on this thread: within kept operations, and within others.
    fn depths(&self) -> (u32, u32) {
        let found = LOCALS.try_with(|locals| {
            let locals = locals.try_borrow().ok()?;
            let local = locals.iter().find(|local| local.layer == self.number)?;
            Some((local.kept_depth, local.silent_depth))
        });
        found.ok().flatten().unwrap_or((0, 0))
    }

    fn name(&self, local: &mut Local, text: &'static str) -> NameId {
        *local.names.entry(text).or_insert_with(|| self.recorders.name(text))
    }

    fn record(&self, local: &mut Local, span: SpanRecord, state: Option<&TraceState>) {
        let recorder = local.recorder.get_or_insert_with(|| self.recorders.recorder());
        // A full ring drops the span and counts it.
        match state {
            Some(state) => recorder.record_with_state(span, state),
            None => recorder.record(span),
        };
    }

    /// What a span without a parent is to be.
    fn begin(&self, local: &mut Local, name: NameId) -> Open {
        let now = self.clock.now();
        let Some(Origin { context, caller, told }) = local.origin.take() else {
            let Some(sampled) = local.sampler.arrive() else {
                return Open::Silent(Silent { root: true, start: now, ..Silent::default() });
            };
            let trace_id = local.sampler.new_trace_id(sampled);
            return Open::Kept(self.new_span(local, trace_id, name, sampled, now), true, None);
        };
        let decision = self.sampler.decide(&context);
        let trace_id = context.parent.map_or_else(|| decision.new_trace_id(), |p| p.trace_id);
        let random = context.parent.is_none_or(|parent| parent.random);
        // The same for each span of this operation, but for the span's own id, which is not in it.
        let state =
            |told: Arc<TraceContext>| Arc::new(told.child(&decision, told.parent.parent_id).state);
        let state = told.map(state);
        let Some(sampled) = decision.sampled() else {
            let origin = Some(LateOrigin { trace_id, caller, random, state });
            return Open::Silent(Silent { root: true, start: now, origin, error: false });
        };
        let mut span = self.new_span(local, trace_id, name, sampled, now);
        if let Some(caller) = caller {
            span = span.with_remote_parent(caller);
        }
        span.random_trace_id = random;
        Open::Kept(span, true, state)
    }

    fn new_span(
        &self,
        local: &mut Local,
        trace_id: TraceId,
        name: NameId,
        sampled: Sampled,
        now: Ticks,
    ) -> SpanRecord {
        SpanRecord::new(trace_id, local.sampler.new_span_id(), name, sampled, now, now)
    }

    /// The span of an operation that its end keeps though its head did not.
    fn late(&self, local: &mut Local, name: NameId, silent: &Silent) -> Option<SpanRecord> {
        let end = self.clock.now();
        let kept = self.sampler.decide_end_between(silent.error, silent.start, end, false)?;
        let (trace_id, caller, random) = match &silent.origin {
            Some(origin) => (origin.trace_id, origin.caller, origin.random),
            None => (local.sampler.new_unsampled_trace_id(), None, true),
        };
        let mut span = self.new_span(local, trace_id, name, kept, silent.start);
        if let Some(caller) = caller {
            span = span.with_remote_parent(caller);
        }
        span.end = end;
        span.random_trace_id = random;
        Some(span.with_status(if silent.error { Status::Error } else { Status::Unset }))
    }
}

/// What the registry remembers of a span for us.
#[derive(Debug)]
enum Open {
    /// To be recorded when it closes; whether it is an operation of its own; and the tracestate that
    /// goes with it.
    Kept(SpanRecord, bool, Option<Arc<TraceState>>),
    Silent(Silent),
}

/// An operation that its head did not keep, or a span below one.
#[derive(Debug, Default)]
struct Silent {
    root: bool,
    start: Ticks,
    origin: Option<LateOrigin>,
    error: bool,
}

/// Whence an operation comes that its head did not keep, if it was told.
#[derive(Debug)]
struct LateOrigin {
    trace_id: TraceId,
    caller: Option<SpanId>,
    random: bool,
    state: Option<Arc<TraceState>>,
}

impl<S> Filter<S> for SampleFilter
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn callsite_enabled(&self, meta: &'static Metadata<'static>) -> Interest {
        if self.0.config.wants(meta) { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, meta: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        // Asked again: another layer may want a callsite that we do not.
        if !self.0.config.wants(meta) {
            return false;
        }
        match self.0.depths() {
            (kept, silent) if meta.is_event() => kept > 0 || silent > 0,
            (0, 0) => self.0.sampler.is_enabled(),
            (_, silent) => silent == 0,
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.0.config.level.max(Level::ERROR)))
    }
}

impl<S> Layer<S> for SpanLayer
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let parent = match attributes.parent() {
            Some(parent) => context.span(parent),
            None if attributes.is_contextual() => context.lookup_current(),
            None => None,
        };
        let open = self.0.with_local(|local| {
            let name = self.0.name(local, attributes.metadata().name());
            let mut open = match parent.as_ref().map(|parent| parent.extensions()) {
                Some(data) => match data.get::<Open>() {
                    Some(Open::Kept(above, _, state)) => {
                        let sampled = Sampled { reason: above.reason, odds: above.odds };
                        let now = self.0.clock.now();
                        let mut span = self.0.new_span(local, above.trace_id, name, sampled, now);
                        span.random_trace_id = above.random_trace_id;
                        Open::Kept(span.with_parent(above.span_id), false, state.clone())
                    }
                    Some(Open::Silent(_)) => Open::Silent(Silent::default()),
                    None => self.0.begin(local, name),
                },
                None => self.0.begin(local, name),
            };
            if let Open::Kept(span, ..) = &mut open {
                attributes.record(&mut Fields { shared: &self.0, local, span });
            }
            open
        });
        if let Some(open) = open {
            span.extensions_mut().insert(open);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(Open::Kept(span, ..)) = extensions.get_mut::<Open>() {
            self.0.with_local(|local| {
                values.record(&mut Fields { shared: &self.0, local, span });
            });
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let Some(span) = context.event_span(event) else { return };
        match span.extensions_mut().get_mut::<Open>() {
            Some(Open::Kept(span, ..)) => span.status = Status::Error,
            Some(Open::Silent(silent)) => silent.error = true,
            None => {}
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.step(id, &context, |depth| *depth += 1);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.step(id, &context, |depth| *depth = depth.saturating_sub(1));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(open) = span.extensions_mut().remove::<Open>() else { return };
        let name = span.metadata().name();
        self.0.with_local(|local| match open {
            Open::Kept(mut span, root, state) => {
                span.end = self.0.clock.now();
                let failed = span.status == Status::Error;
                // Only the operation itself was decided about; what is below it has its odds.
                if root
                    && let Some(kept) =
                        self.0.sampler.decide_end_between(failed, span.start, span.end, true)
                {
                    (span.reason, span.odds) = (kept.reason, kept.odds);
                }
                self.0.record(local, span, state.as_deref());
            }
            Open::Silent(silent) if silent.root => {
                let name = self.0.name(local, name);
                if let Some(span) = self.0.late(local, name, &silent) {
                    let state = silent.origin.as_ref().and_then(|origin| origin.state.as_deref());
                    self.0.record(local, span, state);
                }
            }
            Open::Silent(_) => {}
        });
    }
}

impl SpanLayer {
    /// Steps into a span or out of it.
    fn step<S>(&self, id: &Id, context: &Context<'_, S>, step: impl FnOnce(&mut u32))
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let Some(span) = context.span(id) else { return };
        let kept = match span.extensions().get::<Open>() {
            Some(Open::Kept(..)) => true,
            Some(Open::Silent(_)) => false,
            None => return,
        };
        self.0.with_local(|local| {
            step(if kept { &mut local.kept_depth } else { &mut local.silent_depth });
        });
    }
}

/// Takes fields into a span's attributes, while there is room.
struct Fields<'a> {
    shared: &'a Shared,
    local: &'a mut Local,
    span: &'a mut SpanRecord,
}

impl Fields<'_> {
    fn take(&mut self, field: &Field, value: impl Into<AttributeValue>) {
        if self.span.attributes().count() < SPAN_ATTRIBUTES_MAX {
            let key = self.shared.name(self.local, field.name());
            *self.span = self.span.with_attribute(key, value);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, value);
    }

    fn record_str(&mut self, _: &Field, _: &str) {}

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
