//! Spans to an OpenTelemetry collector by OTLP: protobuf over plain HTTP, encoded by opentelemetry-otlp, sent by a small blocking client.
//!
//! The client is ours because the async ones need a runtime on the drain's thread, and because
//! another crate's features may silently exchange the one that opentelemetry-otlp picks. It speaks
//! HTTP/1.1 to a collector nearby: no TLS, no proxy, no redirects, no compression; a collector
//! beside the program does those better. A connection is kept and used again.
//!
//! Nothing here waits without end: resolving apart, one request takes at most its timeout, however
//! the other side stalls or drips, and a batch with its retries at most twice that. Meanwhile rings
//! fill, drop and count. A batch that could not be delivered is lost and counted, and so are the
//! spans of one that the collector took and rejected in part.
//!
//! After a failure no request goes out until the destination's back-off has ended, of whatever batch;
//! batches that come meanwhile are lost and counted. So a collector that is overloaded, or says by
//! Retry-After when it will not be, is left alone; and one that refuses all we send is not asked a
//! hundred times a second.

mod backoff;
mod response;

use crate::{
    error::SinkError,
    otel::{EXPORT_SPANS_MAX, OtelSink},
    sink::{FinishedSpan, Sink},
    sync::{Arc, Mutex, thread},
};
use backoff::Backoff;
use http::{Request, Response, Uri};
use opentelemetry::InstrumentationScope;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::{Resource, error::OTelSdkError};
use response::{Answer, Head, Length, ResponseError};
use std::{
    collections::HashMap,
    fmt,
    future::{Future, ready},
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    pin::Pin,
    time::{Duration, Instant, SystemTime},
};

/// Where a collector listens for OTLP over HTTP unless told otherwise.
pub const ENDPOINT_DEFAULT: &str = "http://127.0.0.1:4318/v1/traces";
/// Largest answer read; a longer one is an error, and the connection is given up.
const RESPONSE_BYTES_MAX: usize = 1 << 20;
/// Times that a batch is sent again.
const RETRIES_MAX: u32 = 3;

/// Settings of an OTLP sink. Fields are public: take the default and assign.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtlpConfig {
    /// Where to send to: the whole URL, path included. Only `http`. Default:
    /// [`ENDPOINT_DEFAULT`].
    pub endpoint: String,
    /// Longest that one request may take, and the time after which no retry begins. Unit:
    /// duration. Range: 1 ms and up. Default: 10 s.
    pub timeout: Duration,
    /// Whether a batch waits for the back-off and is sent again, up to three times, when the
    /// collector cannot be reached or says that it is overloaded (429, 502, 503, 504). Not beyond
    /// `timeout`. False: it is lost at once. Default: true.
    pub retry: bool,
    /// After a failure, of whatever kind, no request goes out for between half of this time and all
    /// of it, and twice as long after each further failure. A collector's Retry-After of up to a day
    /// may prolong it. Unit: duration. Range: 1 ms to `backoff_max`. Default: 1 s.
    pub backoff_min: Duration,
    /// Up to which the back-off doubles. Unit: duration. Range: `backoff_min` and up. Default: 60 s.
    pub backoff_max: Duration,
    /// Headers to send along, such as a key. Default: none.
    pub headers: HashMap<String, String>,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            endpoint: ENDPOINT_DEFAULT.to_owned(),
            timeout: Duration::from_secs(10),
            retry: true,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            headers: HashMap::new(),
        }
    }
}

impl OtlpConfig {
    /// The default with another endpoint.
    pub fn to(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), ..Self::default() }
    }
}

/// An OTLP sink could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpError {
    /// The endpoint is not a URL that this client can send to.
    #[error("`endpoint` is `{endpoint}`, allowed is http://host[:port]/path")]
    Endpoint {
        /// The one given.
        endpoint: String,
    },
    /// The timeout is too short.
    #[error("`timeout` is {timeout:?}, allowed is 1 ms and up")]
    Timeout {
        /// The one given.
        timeout: Duration,
    },
    /// The back-off is too short, or its bounds are the wrong way round.
    #[error(
        "`backoff_min` is {least:?} and `backoff_max` {most:?}, allowed is 1 ms and up, the first at most the second"
    )]
    Backoff {
        /// The `backoff_min` given.
        least: Duration,
        /// The `backoff_max` given.
        most: Duration,
    },
    /// opentelemetry-otlp refused the settings.
    #[error("the OTLP exporter cannot be built")]
    Exporter(#[source] ExporterBuildError),
}

/// Why spans did not arrive.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error("the collector rejected {spans} spans of a batch: {message}")]
    Rejected { spans: u64, message: String },
    #[error("the collector answered with status {status}")]
    Status { status: u16 },
    #[error("the collector is left alone for {wait:?}, after {}", failure.as_deref().unwrap_or("a failure"))]
    BackingOff { wait: Duration, failure: Option<String> },
    #[error("the request failed")]
    Request(#[source] OTelSdkError),
}

/// A sink that sends to the collector at `config.endpoint`, whether it is there already or not.
///
/// `OTEL_EXPORTER_OTLP_HEADERS` and its kin are read by opentelemetry-otlp; what `config` says wins
/// over the endpoint and timeout that they name.
pub fn otlp_sink(config: &OtlpConfig, resource: &Resource) -> Result<OtlpSink, OtlpError> {
    let endpoint = || OtlpError::Endpoint { endpoint: config.endpoint.clone() };
    let uri: Uri = config.endpoint.parse().map_err(|_| endpoint())?;
    if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
        return Err(endpoint());
    }
    let millisecond = Duration::from_millis(1);
    if config.timeout < millisecond {
        return Err(OtlpError::Timeout { timeout: config.timeout });
    }
    let (least, most) = (config.backoff_min, config.backoff_max);
    if least < millisecond || least > most {
        return Err(OtlpError::Backoff { least, most });
    }
    let answer = Arc::default();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(BlockingClient::new(config.timeout, Arc::clone(&answer)))
        .with_endpoint(config.endpoint.clone())
        .with_timeout(config.timeout)
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_headers(config.headers.clone())
        // What is sent again, and when, is the sink's affair: its back-off outlives the batch.
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(OtlpError::Exporter)?;
    Ok(OtlpSink {
        sink: OtelSink::new(exporter, resource),
        answer,
        backoff: Backoff::new(least, most, fastrand::Rng::new()),
        failure: None,
        retries: if config.retry { RETRIES_MAX } else { 0 },
        timeout: config.timeout,
    })
}

/// Sends spans to a collector. Made by [`otlp_sink`].
#[derive(Debug)]
pub struct OtlpSink {
    sink: OtelSink<SpanExporter>,
    /// What the client heard last.
    answer: Arc<Mutex<Option<Answer>>>,
    backoff: Backoff,
    /// What the back-off began with.
    failure: Option<String>,
    retries: u32,
    timeout: Duration,
}

impl OtlpSink {
    /// Names the library that the spans come from. Default: `ng-trace`.
    pub fn with_scope(self, scope: InstrumentationScope) -> Self {
        Self { sink: self.sink.with_scope(scope), ..self }
    }

    /// Sends one request's worth, again if that may help. On failure it says how many are lost.
    fn deliver(&mut self, spans: &[FinishedSpan]) -> Result<(), (usize, DeliveryError)> {
        let give_up = Instant::now() + self.timeout;
        let mut attempts = 0;
        loop {
            let now = Instant::now();
            if let Some(wait) = self.backoff.wait(now) {
                // The failure that it began with was of this batch: then it may wait.
                if attempts == 0 || attempts > self.retries || now + wait > give_up {
                    let failure = self.failure.clone();
                    return Err((spans.len(), DeliveryError::BackingOff { wait, failure }));
                }
                thread::sleep(wait);
            }
            attempts += 1;
            match self.attempt(spans) {
                Ok(()) => return Ok(()),
                Err((lost, error, again)) => {
                    if !again || attempts > self.retries {
                        return Err((lost, error));
                    }
                }
            }
        }
    }

    /// One request. On failure: spans lost, why, and whether they may be sent again.
    fn attempt(&mut self, spans: &[FinishedSpan]) -> Result<(), (usize, DeliveryError, bool)> {
        *self.answer.lock() = None;
        let outcome = self.sink.export_part(spans);
        let answer = self.answer.lock().take();
        if let Some(answer) = answer.as_ref().filter(|answer| answer.is_success()) {
            self.backoff.succeeded();
            if answer.rejected == 0 {
                return Ok(());
            }
            let rejected = answer.rejected.min(spans.len() as u64);
            let message = answer.message.clone();
            let error = DeliveryError::Rejected { spans: rejected, message };
            return Err((rejected as usize, error, false));
        }
        let (error, again) = match (answer.as_ref(), outcome) {
            (Some(answer), _) => {
                (DeliveryError::Status { status: answer.status }, answer.is_retryable())
            }
            (None, Err(source)) => (DeliveryError::Request(source), true),
            // Nothing was sent, so nothing failed.
            (None, Ok(())) => return Ok(()),
        };
        self.backoff.failed(Instant::now(), answer.and_then(|answer| answer.retry_after));
        self.failure = Some(error.to_string());
        Err((spans.len(), error, again))
    }
}

impl Sink for OtlpSink {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        let (mut lost, mut first) = (0, None);
        for part in batch.chunks(EXPORT_SPANS_MAX) {
            if let Err((spans, error)) = self.deliver(part) {
                lost += spans;
                first.get_or_insert(error);
            }
        }
        match first {
            Some(error) => Err(SinkError::Export { spans: lost, source: error.into() }),
            None => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.sink.flush()
    }

    fn shutdown(&mut self) -> Result<(), SinkError> {
        self.sink.shutdown()
    }
}

/// One connection, used by one thread at a time.
struct BlockingClient {
    timeout: Duration,
    idle: Mutex<Option<TcpStream>>,
    answer: Arc<Mutex<Option<Answer>>>,
}

impl BlockingClient {
    fn new(timeout: Duration, answer: Arc<Mutex<Option<Answer>>>) -> Self {
        Self { timeout, idle: Mutex::new(None), answer }
    }

    fn send(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let deadline = Instant::now() + self.timeout;
        let message = response::request_bytes(request)?;
        // A kept connection may have been closed by the other side meanwhile: then once more on a
        // fresh one. A collector may get the batch twice only if it closed after it had read it
        // whole and before it answered.
        let kept = self.idle.lock().take();
        if let Some(stream) = kept {
            match self.exchange(stream, &message, deadline) {
                Err(error) if error.is_stale() => {}
                result => return result.map_err(Into::into),
            }
        }
        let stream = connect(request.uri(), deadline).map_err(ResponseError::Io)?;
        Ok(self.exchange(stream, &message, deadline)?)
    }

    fn exchange(
        &self,
        stream: TcpStream,
        message: &[u8],
        deadline: Instant,
    ) -> Result<Response<Bytes>, ResponseError> {
        let mut stream = Timed { stream, deadline };
        stream.write_all(message).map_err(ResponseError::Stale)?;
        let (head, mut body) = response::read_head(&mut stream)?;
        read_body(&mut stream, &head, &mut body)?;
        *self.answer.lock() = Some(head.answer(&body, SystemTime::now()));
        if head.keep_alive {
            *self.idle.lock() = Some(stream.stream);
        }
        head.into_response(body)
    }
}

impl fmt::Debug for BlockingClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingClient").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl HttpClient for BlockingClient {
    /// Ready at once: all the waiting is done before it returns. Written out, since the trait was
    /// made by a macro of which this is the only use here.
    fn send_bytes<'client, 'future>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'future>>
    where
        'client: 'future,
        Self: 'future,
    {
        Box::pin(ready(self.send(&request)))
    }
}

fn connect(uri: &Uri, deadline: Instant) -> io::Result<TcpStream> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("`{host}` has no address"));
    for address in (host, uri.port_u16().unwrap_or(80)).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn read_body(stream: &mut Timed, head: &Head, body: &mut Vec<u8>) -> Result<(), ResponseError> {
    let mut chunk = [0; 4096];
    loop {
        if body.len() > RESPONSE_BYTES_MAX {
            return Err(ResponseError::TooLarge { limit: RESPONSE_BYTES_MAX });
        }
        let complete = match head.length {
            Length::Known(bytes) => body.len() >= bytes,
            Length::Chunked => response::dechunk(body)?,
            Length::UntilClosed => false,
        };
        if complete {
            return Ok(());
        }
        match stream.read(&mut chunk)? {
            0 if head.length == Length::UntilClosed => return Ok(()),
            0 => return Err(ResponseError::ClosedEarly),
            count => body.extend_from_slice(&chunk[..count]),
        }
    }
}

/// A stream that gives up at a deadline, however often a byte comes before it.
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Time until the deadline, more than zero.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
