//! Samples an axum handler by its callers' headers, keeps errors, and tells those whom it would call: `cargo run --example axum_handler`. Sends itself a few requests and prints the spans.

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use ng_trace::{
    Collector, CollectorConfig, Decision, MemorySink, NameId, Outcome, Recorders, SampleContext,
    Sampler, SamplerConfig, SpanId, SpanKind, SpanRecord, SpanRecorder, Status, TraceContext,
};
use quietly::quietly;
use std::{
    cell::RefCell,
    error::Error,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

#[path = "console/quietly.rs"]
mod quietly;

/// What the middleware needs; a clone is cheap.
#[derive(Clone)]
struct Tracing {
    sampler: Arc<Sampler>,
    recorders: Recorders,
    request: NameId,
    status: NameId,
}

thread_local! {
    /// One ring for each of the runtime's few threads.
    static RECORDER: RefCell<Option<SpanRecorder>> = const { RefCell::new(None) };
}

impl Tracing {
    /// The head decision, and the caller's place in its trace if it sent one.
    fn decide(&self, headers: &HeaderMap) -> (Option<TraceContext>, Decision) {
        let all = |name| headers.get_all(name).iter().map(|value| value.as_bytes());
        let caller = TraceContext::read(all("traceparent"), all("tracestate"));
        let root = SampleContext::root();
        let mut context = caller.as_ref().map_or(root, TraceContext::sample_context);
        context.force = headers.get("x-force-trace").is_some_and(|v| v == "true" || v == "1");
        let decision = self.sampler.decide(&context);
        (caller, decision)
    }

    /// With the tracestate that was told, so that what is exported says the same.
    fn record(&self, span: SpanRecord, told: Option<&TraceContext>) {
        RECORDER.with_borrow_mut(|recorder| {
            let recorder = recorder.get_or_insert_with(|| self.recorders.recorder());
            match told {
                Some(told) => recorder.record_with_state(span, &told.state),
                None => recorder.record(span),
            };
        });
    }
}

async fn traced(State(tracing): State<Tracing>, mut request: Request, next: Next) -> Response {
    let (caller, decision) = tracing.decide(request.headers());
    let clock = tracing.recorders.clock();
    let trace_id = caller.as_ref().map_or_else(|| decision.new_trace_id(), |c| c.parent.trace_id);
    let span_id = SpanId::new(fastrand::u64(1..)).expect("it is not zero");
    // What the handler would send on with its own requests.
    let told = match &caller {
        Some(caller) => Some(caller.child(&decision, span_id)),
        None => TraceContext::root(&decision, trace_id, span_id),
    };
    request.extensions_mut().insert(told.clone());

    let start = clock.now();
    let response = next.run(request).await;
    let end = clock.now();

    let failed = response.status().is_server_error();
    let head = decision.sampled();
    let mut outcome = Outcome::new(failed, clock.elapsed(start, end));
    if head.is_some() {
        outcome = outcome.of_kept();
    }
    if let Some(sampled) = tracing.sampler.decide_end(&outcome).or(head) {
        let mut span = SpanRecord::new(trace_id, span_id, tracing.request, sampled, start, end)
            .with_kind(SpanKind::Server)
            .with_status(if failed { Status::Error } else { Status::Unset })
            .with_sampled_flag(head.is_some())
            .with_attribute(tracing.status, u64::from(response.status().as_u16()));
        if let Some(caller) = caller {
            span = span.with_remote_parent(caller.parent.parent_id);
            span.random_trace_id = caller.parent.random;
        }
        tracing.record(span, told.as_ref());
    }
    response
}

fn main() -> Result<(), Box<dyn Error>> {
    quietly(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let sampler = Arc::new(Sampler::new(SamplerConfig::fixed_rate(0.01))?);
    let sink = MemorySink::new();
    let collector = Collector::start(CollectorConfig::default(), Box::new(sink.clone()))?;
    let tracing = Tracing {
        sampler: Arc::clone(&sampler),
        recorders: collector.recorders(),
        request: collector.name("GET"),
        status: collector.name("http.response.status_code"),
    };
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/broken", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .layer(middleware::from_fn_with_state(tracing.clone(), traced))
        .with_state(tracing);

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(async move { axum::serve(listener, app).await });

    let sampled = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03\r\n";
    let unsampled = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02\r\n";
    for _ in 0..100 {
        request(address, "/", "")?;
    }
    request(address, "/", "x-force-trace: true\r\n")?;
    request(address, "/", sampled)?;
    request(address, "/", unsampled)?;
    request(address, "/broken", unsampled)?;

    collector.flush(Duration::from_secs(10))?;
    writeln!(
        io::stdout(),
        "{} requests, {} spans:",
        sampler.stats().samples_total,
        sink.spans().len()
    )?;
    for span in sink.spans() {
        let record = span.record;
        let (reason, trace) = (record.reason.as_str(), record.trace_id);
        writeln!(
            io::stdout(),
            "{} {trace} kept by {reason}, weight {:?}",
            span.name,
            record.weight()
        )?;
    }
    Ok(())
}

/// One request by hand, so that the example needs no client.
fn request(address: SocketAddr, path: &str, headers: &str) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}
