//! A collector that stalls, refuses, is overloaded, drips or closes midway costs spans, which are counted: it slows no writer and grows no memory.
#![cfg(feature = "otlp")]
#![allow(clippy::print_stderr)] // what is left out here is said

use ng_trace::{
    Collector, CollectorConfig, Odds, Reason, Sampled, SpanId, SpanKind, SpanRecord, SpanRecorder,
    Status, Threshold, Ticks, TraceId,
    otlp::{OtlpConfig, OtlpError, otlp_sink},
};
use opentelemetry_sdk::Resource;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

const WAIT: Duration = Duration::from_secs(30);
const SMALL_RING_SPANS: u64 = 4096 / 80;
const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";

/// A small ring before a sink that sends to `endpoint`; 300 ms a request, no retries.
fn collector(endpoint: &str, change: impl FnOnce(&mut OtlpConfig)) -> Collector {
    let mut otlp = OtlpConfig::to(endpoint);
    otlp.timeout = Duration::from_millis(300);
    otlp.retry = false;
    change(&mut otlp);
    let resource = Resource::builder_empty().with_service_name("otlp test").build();
    let sink = otlp_sink(&otlp, &resource).unwrap();
    let mut config = CollectorConfig::default();
    config.ring_bytes = 4096;
    config.shutdown_timeout = Duration::from_millis(50);
    Collector::start(config, Box::new(sink)).unwrap()
}

fn span(collector: &Collector, number: u64) -> SpanRecord {
    let sampled = Sampled { reason: Reason::Force, odds: Odds::CERTAIN };
    let trace_id = TraceId::new(u128::from(number) + 1).unwrap();
    let (id, now) = (SpanId::new(number + 1).unwrap(), Ticks::default());
    SpanRecord::new(trace_id, id, collector.name("x"), sampled, now, now)
}

/// Records so many spans without waiting for anything; returns how many found room.
fn record(collector: &Collector, recorder: &mut SpanRecorder, spans: u64) -> u64 {
    (0..spans).filter(|number| recorder.record(span(collector, *number))).count() as u64
}

/// Reads one request whole and returns its head and body; `None` when the client has gone.
fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// A server that treats each connection as told, until the test ends. Says when a request came.
fn server(
    mut treat: impl FnMut(&mut TcpStream, &Sender<(String, Vec<u8>)>) + Send + 'static,
) -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            treat(&mut stream.unwrap(), &sender);
        }
    });
    (endpoint, receiver)
}

/// A server that answers each request well.
fn answering() -> (String, Receiver<(String, Vec<u8>)>) {
    server(|stream, requests| {
        while let Some(request) = request(stream) {
            requests.send(request).unwrap();
            stream.write_all(OK).unwrap();
        }
    })
}

/// A server that gives each request this answer.
fn answering_with(
    answer: impl AsRef<[u8]> + Send + 'static,
) -> (String, Receiver<(String, Vec<u8>)>) {
    server(move |stream, requests| {
        while let Some(request) = request(stream) {
            requests.send(request).unwrap();
            stream.write_all(answer.as_ref()).unwrap();
        }
    })
}

/// Sends batches of one span until one more was taken; returns how many were sent. Those which fall
/// into a back-off are lost.
fn record_until_exported(collector: &Collector, recorder: &mut SpanRecorder) -> u64 {
    let before = collector.stats().spans_exported_total;
    for sent in 1.. {
        record(collector, recorder, 1);
        collector.flush(WAIT).unwrap();
        if collector.stats().spans_exported_total > before {
            return sent;
        }
    }
    0
}

/// All that was offered is accounted for: exported, lost, or dropped at the ring.
#[track_caller]
fn assert_accounted(collector: &Collector, offered: u64, exported: u64) {
    let stats = collector.stats();
    assert_eq!(stats.spans_recorded_total + stats.spans_dropped_total, offered, "{stats:?}");
    assert_eq!(stats.spans_exported_total, exported, "{stats:?}");
    assert_eq!(stats.spans_lost_total, stats.spans_recorded_total - exported, "{stats:?}");
    assert_eq!(stats.spans_in_flight, 0, "{stats:?}");
}

#[test]
fn spans_arrive_and_the_connection_is_used_again() {
    // It answers on one connection as long as that lasts; a second one would not be served.
    let (endpoint, requests) = answering();
    let collector = collector(&endpoint, |otlp| {
        otlp.timeout = WAIT;
        otlp.headers.insert("x-key".to_owned(), "secret".to_owned());
    });
    let mut recorder = collector.recorder();
    for _ in 0..3 {
        assert_eq!(record(&collector, &mut recorder, 2), 2);
        collector.flush(WAIT).unwrap();
        let (head, body) = requests.recv_timeout(WAIT).unwrap();
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
        assert!(head.contains("x-key: secret\r\n"), "{head}");
        assert!(!body.is_empty());
    }
    assert_accounted(&collector, 6, 6);
}

#[test]
fn behind_a_stalled_collector_writers_go_on_and_what_is_lost_is_counted() {
    let (kept, streams) = channel();
    let (endpoint, requests) = server(move |stream, requests| {
        requests.send(request(stream).unwrap()).unwrap();
        // Kept open and never answered until the test ends.
        kept.send(stream.try_clone().unwrap()).unwrap();
    });
    let collector = collector(&endpoint, |otlp| otlp.timeout = WAIT);
    let mut recorder = collector.recorder();
    assert_eq!(record(&collector, &mut recorder, 1), 1);
    requests.recv_timeout(WAIT).unwrap();
    // The sink waits for the answer to that one now. Nobody reads the ring, and nobody waits.
    assert_eq!(record(&collector, &mut recorder, 1000), SMALL_RING_SPANS);
    let stats = collector.stats();
    assert_eq!(
        (stats.spans_dropped_total, stats.spans_exported_total),
        (1000 - SMALL_RING_SPANS, 0)
    );
    assert_eq!(stats.ring_bytes, 4096, "memory is the ring and no more");
    drop(streams.recv_timeout(WAIT).unwrap().shutdown(std::net::Shutdown::Both));
    // The ring's batches fall into the back-off of that one: they are lost, and nobody waits for them.
    collector.flush(WAIT).unwrap();
    let stats = collector.stats();
    assert_eq!((stats.spans_lost_total, stats.spans_in_flight), (stats.spans_recorded_total, 0));
}

#[test]
fn a_collector_that_never_answers_is_given_up_at_the_timeout() {
    let (kept, streams) = channel();
    let (endpoint, _requests) = server(move |stream, _| {
        kept.send(stream.try_clone().unwrap()).unwrap();
    });
    let collector = collector(&endpoint, |_| {});
    let mut recorder = collector.recorder();
    record(&collector, &mut recorder, 10);
    collector.flush(WAIT).unwrap();
    assert_accounted(&collector, 10, 0);
    drop(streams);
}

#[test]
fn a_collector_that_drips_one_byte_after_the_other_is_given_up_at_the_timeout() {
    let (endpoint, _requests) = server(|stream, _| {
        let _ = request(stream);
        // Each byte comes long before the timeout, and the head never ends. A write to a client
        // that has gone ends it.
        let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
        while stream.write_all(b"H").is_ok() {
            let _ = stream.read(&mut [0]); // awaits the client's leaving, or 50 ms
        }
    });
    let collector = collector(&endpoint, |_| {});
    let mut recorder = collector.recorder();
    record(&collector, &mut recorder, 10);
    collector.flush(WAIT).unwrap();
    assert_accounted(&collector, 10, 0);
}

#[test]
fn a_collector_that_refuses_loses_spans_which_are_counted_until_it_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let collector = collector(&format!("http://{address}/v1/traces"), |otlp| {
        (otlp.timeout, otlp.backoff_min) = (WAIT, Duration::from_millis(1));
    });
    let mut recorder = collector.recorder();
    record(&collector, &mut recorder, 10);
    collector.flush(WAIT).unwrap();
    assert_accounted(&collector, 10, 0);
    // Another program may have taken the port meanwhile; then there is nothing more to see.
    let Ok(listener) = TcpListener::bind(address) else { return };
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        request(&mut stream).unwrap();
        stream.write_all(OK).unwrap();
    });
    let sent = record_until_exported(&collector, &mut recorder);
    served.join().unwrap();
    assert_accounted(&collector, 10 + sent, 1);
}

#[test]
fn an_overloaded_collector_is_asked_again_and_gets_the_same_batch() {
    let mut answers = 0;
    let (endpoint, requests) = server(move |stream, requests| {
        while let Some(request) = request(stream) {
            answers += 1;
            requests.send(request).unwrap();
            let busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
            stream.write_all(if answers <= 2 { busy } else { OK }).unwrap();
        }
    });
    let collector = collector(&endpoint, |otlp| {
        (otlp.retry, otlp.timeout, otlp.backoff_min) = (true, WAIT, Duration::from_millis(1));
    });
    record(&collector, &mut collector.recorder(), 3);
    collector.flush(WAIT).unwrap();
    let bodies: Vec<_> = requests.try_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    assert_accounted(&collector, 3, 3);
}

#[test]
fn a_collector_that_stays_overloaded_loses_the_batch_and_one_after_the_back_off_is_tried() {
    let mut answers = 0;
    let (endpoint, _requests) = server(move |stream, _| {
        while request(stream).is_some() {
            answers += 1;
            let busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(if answers == 1 { busy } else { OK }).unwrap();
        }
    });
    let collector = collector(&endpoint, |otlp| {
        (otlp.timeout, otlp.backoff_min) = (WAIT, Duration::from_millis(1));
    });
    let mut recorder = collector.recorder();
    record(&collector, &mut recorder, 4);
    collector.flush(WAIT).unwrap();
    assert_accounted(&collector, 4, 0);
    let sent = record_until_exported(&collector, &mut recorder);
    assert_accounted(&collector, 4 + sent, 1);
}

/// A collector that rejected all 600 spans of a batch had 600 counted as exported.
#[test]
fn spans_that_the_collector_rejects_are_lost_and_it_says_why() {
    let body = |rejected: u8| {
        let partial = [b"\x08".as_slice(), &[rejected], b"\x12\x09too\x20large"].concat();
        [b"\x0a".as_slice(), &[partial.len() as u8], &partial].concat()
    };
    for (rejected, exported) in [(40, 0), (7, 33), (0, 40), (100, 0)] {
        let body = body(rejected);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let (endpoint, _requests) = answering_with([head.into_bytes(), body].concat());
        let collector = collector(&endpoint, |otlp| otlp.timeout = WAIT);
        // All of them in one batch, which the flush has sent.
        record(&collector, &mut collector.recorder(), 40);
        collector.flush(WAIT).unwrap();
        let stats = collector.stats();
        // The drain may have come in between; each of its batches is rejected alike.
        if stats.batches_total == 1 {
            assert_accounted(&collector, 40, exported);
        }
        assert_eq!(stats.sink_errors_total > 0, rejected > 0);
        let said = stats.last_sink_error.unwrap_or_default();
        assert_eq!(said.contains("too large"), rejected > 0, "{said}");
    }
}

/// 74 requests went out within a second against a `Retry-After` of a day: each batch forgot it.
#[test]
fn no_request_goes_out_before_the_time_that_the_collector_asked_for() {
    for status in [429, 503] {
        for retry in [false, true] {
            let busy = format!(
                "HTTP/1.1 {status} Busy\r\nRetry-After: 86400\r\nContent-Length: 0\r\n\r\n"
            );
            let (endpoint, requests) = answering_with(busy);
            let collector = collector(&endpoint, |otlp| {
                (otlp.timeout, otlp.retry) = (WAIT, retry);
                otlp.backoff_min = Duration::from_millis(1);
            });
            let mut recorder = collector.recorder();
            for _ in 0..100 {
                record(&collector, &mut recorder, 1);
                collector.flush(WAIT).unwrap();
            }
            assert_accounted(&collector, 100, 0);
            let said = collector.stats().last_sink_error.unwrap();
            assert!(said.contains("left alone") && said.contains(&status.to_string()), "{said}");
            assert_eq!(requests.try_iter().count(), 1);
        }
    }
}

/// 400 and 307 were repeated at once, with each batch.
#[test]
fn a_collector_that_refuses_for_good_is_not_asked_again_with_each_batch() {
    for status in [307, 400, 401, 404, 500] {
        let refused = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
        let (endpoint, requests) = answering_with(refused);
        let collector = collector(&endpoint, |otlp| {
            (otlp.timeout, otlp.retry) = (WAIT, true);
            otlp.backoff_min = Duration::from_secs(3600);
            otlp.backoff_max = Duration::from_secs(3600);
        });
        let mut recorder = collector.recorder();
        for _ in 0..50 {
            record(&collector, &mut recorder, 1);
            collector.flush(WAIT).unwrap();
        }
        assert_accounted(&collector, 50, 0);
        assert_eq!(requests.try_iter().count(), 1, "status {status}");
    }
}

#[test]
fn a_connection_closed_within_the_answer_loses_the_batch_and_one_closed_while_idle_does_not() {
    let mut connections = 0;
    let (endpoint, requests) = server(move |stream, requests| {
        connections += 1;
        let request = request(stream).unwrap();
        requests.send(request).unwrap();
        let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
        // Either way it is closed afterwards.
        stream.write_all(if connections == 1 { half } else { OK }).unwrap();
    });
    let collector = collector(&endpoint, |otlp| {
        (otlp.timeout, otlp.backoff_min) = (WAIT, Duration::from_millis(1));
    });
    let mut recorder = collector.recorder();
    record(&collector, &mut recorder, 1);
    collector.flush(WAIT).unwrap();
    assert_accounted(&collector, 1, 0);
    let offered = 1 + record_until_exported(&collector, &mut recorder);
    assert_eq!(record_until_exported(&collector, &mut recorder), 1, "closed while idle");
    assert_accounted(&collector, offered + 1, 2);
    assert_eq!(requests.try_iter().count(), 3);
}

#[test]
fn a_collector_that_closes_before_it_has_read_loses_the_batch() {
    let (endpoint, _requests) = server(|stream, _| {
        let _ = stream.read(&mut [0; 10]);
    });
    let collector = collector(&endpoint, |otlp| otlp.timeout = WAIT);
    record(&collector, &mut collector.recorder(), 7);
    collector.flush(WAIT).unwrap();
    assert_accounted(&collector, 7, 0);
}

#[test]
fn an_endpoint_that_cannot_be_sent_to_is_refused_when_the_sink_is_made() {
    let resource = Resource::builder_empty().build();
    for endpoint in ["https://127.0.0.1:4318/v1/traces", "127.0.0.1:4318", "", "http://", "/x"] {
        let refused = otlp_sink(&OtlpConfig::to(endpoint), &resource);
        assert!(matches!(refused, Err(OtlpError::Endpoint { .. })), "{endpoint}");
    }
    let mut config = OtlpConfig::default();
    config.timeout = Duration::ZERO;
    assert!(matches!(otlp_sink(&config, &resource), Err(OtlpError::Timeout { .. })));
    for (least, most) in [(0, 1000), (2000, 1000)] {
        let mut config = OtlpConfig::default();
        (config.backoff_min, config.backoff_max) =
            (Duration::from_millis(least), Duration::from_millis(most));
        assert!(matches!(otlp_sink(&config, &resource), Err(OtlpError::Backoff { .. })));
    }
    assert!(otlp_sink(&OtlpConfig::default(), &resource).is_ok());
}

/// Two spans with something in every field, as the Python script expects them.
fn telling_spans(collector: &Collector) -> [SpanRecord; 2] {
    let clock = collector.clock();
    let start = clock.now();
    let trace_id = TraceId::new(0x0af7_6519_16cd_43dd_84ff_eb21_1c80_319c).unwrap();
    let id = |number| SpanId::new(number).unwrap();
    let head = Sampled::by_threshold(Reason::Base, Threshold::from_rate(0.01).unwrap());
    let tail = Sampled { reason: Reason::Error, odds: Odds::CERTAIN };
    let first =
        SpanRecord::new(trace_id, id(11), collector.name("first"), head, start, clock.now())
            .with_remote_parent(id(10))
            .with_kind(SpanKind::Server)
            .with_status(Status::Ok)
            .with_attribute(collector.name("number"), -64i64)
            .with_attribute(collector.name("text"), collector.name("slow"));
    let second = SpanRecord::new(trace_id, id(12), collector.name("second"), tail, start, start)
        .with_parent(id(11))
        .with_status(Status::Error)
        .with_attribute(collector.name("share"), 0.5)
        .with_attribute(collector.name("yes"), true);
    [first, second]
}

/// The Python that `NG_PYTHON` names, else `python3`, if it has the module.
fn python_with(module: &str) -> Option<String> {
    let python = std::env::var("NG_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = format!("import {module}");
    let output = Command::new(&python).args(["-c", &import]).output();
    let has = output.is_ok_and(|output| output.status.success());
    if !has {
        eprintln!("left out: {python} has no module {module} (on PyPI)");
    }
    has.then_some(python)
}

/// Has Python decode a request and compare it with the telling spans.
fn assert_decodes(python: &str, body: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("request.pb");
    std::fs::write(&file, body).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otlp_decode.py");
    let output = Command::new(python).arg(script).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn record_telling_spans(collector: &Collector) {
    let mut recorder = collector.recorder();
    for span in telling_spans(collector) {
        assert!(recorder.record(span));
    }
    collector.flush(WAIT).unwrap();
    assert_accounted(collector, 2, 2);
}

#[test]
fn an_independent_implementation_decodes_the_bytes_to_what_was_recorded() {
    let Some(python) = python_with("opentelemetry.proto") else { return };
    let (endpoint, requests) = answering();
    record_telling_spans(&collector(&endpoint, |otlp| otlp.timeout = WAIT));
    assert_decodes(&python, &requests.recv_timeout(WAIT).unwrap().1);
}

/// Ends the collector with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Rotel, from PyPI, receives the spans and passes them on to this test, which has them decoded.
#[test]
fn a_real_collector_receives_the_spans_and_passes_them_on_as_they_were_recorded() {
    let Some(python) = python_with("opentelemetry.proto, rotel") else { return };
    let find = "import os, rotel; print(os.path.dirname(rotel.__file__))";
    let found = Command::new(&python).args(["-c", find]).output().unwrap();
    let agent = Path::new(String::from_utf8(found.stdout).unwrap().trim()).join("rotel-agent");
    let (passed_on, requests) = answering();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (http, grpc) = (free(), free());
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(agent);
    command.args(["start", "--otlp-http-endpoint", &http, "--otlp-grpc-endpoint", &grpc]);
    command.args(["--exporter", "otlp", "--otlp-exporter-protocol", "http", "--disable-batching"]);
    command.args(["--otlp-exporter-endpoint", passed_on.trim_end_matches("/v1/traces")]);
    command.arg("--pid-file").arg(directory.path().join("pid"));
    let Ok(child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        eprintln!("left out: rotel does not run here");
        return;
    };
    let mut running = Running(child);
    // It listens when it takes a connection; nothing comes on this channel before.
    let listens = || TcpStream::connect(&http).is_ok();
    while !listens() && requests.recv_timeout(Duration::from_millis(20)).is_err() {
        if running.0.try_wait().unwrap().is_some() {
            eprintln!("left out: rotel does not run here");
            return;
        }
    }
    let endpoint = format!("http://{http}/v1/traces");
    record_telling_spans(&collector(&endpoint, |otlp| otlp.timeout = WAIT));
    assert_decodes(&python, &requests.recv_timeout(WAIT).unwrap().1);
}
