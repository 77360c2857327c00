//! Pages read by other people's programs: `promtool`, the Python package `prometheus_client`, and a
//! Prometheus server that scrapes the example `serve`.
//!
//! Where `CI=true`, `checkers.sh` fetches what is missing, and a check that cannot run is red. Elsewhere
//! it is left out, and says so; `cargo xtask ci` lists it.

#![allow(clippy::print_stderr)] // a check that is left out says why

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use ng_metrics::{Collect, Format, Registry, TraceRef};

#[allow(dead_code)] // its `main` is not called here
#[path = "../examples/serve.rs"]
mod shop;

/// Where `checkers.sh` puts what it fetches.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("checkers")
}

/// A command that finds programs and packages in that folder too; fetched first where `CI=true`.
fn command(program: &str) -> Command {
    static FETCHED: OnceLock<()> = OnceLock::new();
    if in_ci() {
        FETCHED.get_or_init(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkers.sh");
            let status = Command::new("sh").arg(script).arg(folder()).status();
            assert!(status.is_ok_and(|status| status.success()), "the checkers are not to be had");
        });
    }
    let bin = folder().join("usr/bin").join(program);
    let mut command = Command::new(if bin.exists() { bin.as_path() } else { Path::new(program) });
    command.env("PYTHONPATH", folder().join("python"));
    command
}

fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Says that a check cannot run here, and what would make it run.
fn left_out(what: &str) {
    assert!(!in_ci(), "{what} is missing");
    let folder = folder();
    eprintln!(
        "left out: no {what} here; sh crates/ng-metrics/tests/checkers.sh {folder:?} fetches it"
    );
}

/// Label values that a parser could stumble over.
const ODD: [&str; 9] = [
    "a\"\\\n # {b",
    "",
    " ",
    "\t\r",
    "} 1 # {",
    "le=\"+Inf\",",
    "Grüße, 世界 🦀",
    "\\\\n",
    "\u{1}\u{7f}\u{2028}",
];

fn page(format: Format) -> String {
    let registry = Registry::new("ng").unwrap();
    registry.info("build", "Version.", &[("version", "1 \"a\" \\ \n")]).unwrap();
    let trace = TraceRef { trace_id: u128::MAX, span_id: u64::MAX };
    registry.counter("ops", r#"Operations, "quoted" \."#).unwrap().add_traced(3, trace);
    let family = registry.counter_family("wal_bytes", "Bytes written.", ["kind"], 1).unwrap();
    family.with(&["a\"\\\n # {b"]).add_traced(5, TraceRef { span_id: 0, ..trace });
    family.with(&["beyond"]).add(6);
    let levels = registry.gauge_family("odd_level", "Odd: \" \\.", ["value"], ODD.len()).unwrap();
    ODD.iter().enumerate().for_each(|(i, value)| levels.with(&[value]).set(i as f64));
    registry.up_down_counter("open_files", "Open files.").unwrap().add(-2);
    let wait = registry.histogram_seconds("wait_duration_seconds", "Waits.").unwrap();
    (0..64).for_each(|power| wait.record_traced(1 << power, trace));
    registry.histogram("batch_records", "Records of a batch.").unwrap().record(100);
    let sizes = registry.histogram_family("read_bytes", "Bytes read.", ["of"], 4).unwrap();
    ODD[..2].iter().for_each(|value| sizes.with(&[value]).record_traced(5, trace));
    registry.source(Box::new(|out: &mut Collect<'_>| {
        out.gauge_labeled("limit_bytes", "Limits.", "of", &[("a", f64::INFINITY), ("b", 1e300)]);
        out.gauge("fill_ratio", "Fill.", f64::NAN);
        out.counter_labeled("syncs", "Syncs.", "why", &[("age", 1), ("count", 2)]);
    }));
    registry.encode(format)
}

/// Runs a command with `input`; `None` if there is no such program.
fn run(program: &str, args: &[&str], input: &str) -> Option<Output> {
    let mut command = command(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    Some(child.wait_with_output().unwrap())
}

#[test]
fn promtool_finds_nothing_wrong_with_the_prometheus_page() {
    let page = page(Format::Prometheus);
    let Some(output) = run("promtool", &["check", "metrics"], &page) else {
        return left_out("promtool");
    };
    // What it only advises against is on stderr, with an exit code of its own.
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}\n{page}");
}

/// The Python that `NG_PYTHON` names, else `python3`; it must have the package.
fn python_reads(module: &str, format: Format, expected: &str) {
    let python = std::env::var("NG_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_package = run(&python, &["-c", "import prometheus_client"], "");
    if !has_package.is_some_and(|output| output.status.success()) {
        return left_out("Python package prometheus_client");
    }
    // Read as bytes: Python would take a lone carriage return for the end of a line. The odd labels
    // must come back as they were given, and exemplars with their traces.
    let script = format!(
        "import io, sys\nfrom {module} import text_fd_to_metric_families as parse\n\
         text = io.StringIO(sys.stdin.buffer.read().decode(), newline='\\n')\n\
         families = sorted(parse(text), key=lambda f: f.name)\n\
         print(*((f.name, f.type, len(f.samples)) for f in families))\n\
         samples = [s for f in families for s in f.samples]\n\
         print(*(ascii(s.labels['value']) for s in samples if s.name == 'ng_odd_level'))\n\
         traces = [s.exemplar.labels['trace_id'] for s in samples if s.exemplar]\n\
         print(len(traces), *sorted(set(traces)))"
    );
    let page = page(format);
    let output = run(&python, &["-c", &script], &page).unwrap();
    assert!(output.status.success(), "{}\n{page}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected);
}

/// `ODD` as Python shows it, in the order of a page.
const ODD_READ: &str = r#"'' '\x01\x7f\u2028' '\t\r' ' ' 'Gr\xfc\xdfe, \u4e16\u754c \U0001f980' '\\\\n' 'a"\\\n # {b' 'le="+Inf",' '} 1 # {'"#;

#[test]
fn pythons_strict_openmetrics_parser_reads_every_family_label_and_exemplar() {
    // A trace on each of the 16 + 1 buckets that has a value, on 2 counters, on 2 bytes' buckets.
    let families = "('ng_batch_records', 'histogram', 20) ('ng_build', 'info', 1) \
         ('ng_fill_ratio', 'gauge', 1) ('ng_limit_bytes', 'gauge', 2) ('ng_odd_level', 'gauge', 9) \
         ('ng_open_files', 'gauge', 1) ('ng_ops', 'counter', 2) ('ng_read_bytes', 'histogram', 40) \
         ('ng_syncs', 'counter', 2) ('ng_wait_duration_seconds', 'histogram', 20) \
         ('ng_wal_bytes', 'counter', 4)";
    python_reads(
        "prometheus_client.openmetrics.parser",
        Format::OpenMetrics,
        &format!("{families}\n{ODD_READ}\n21 {}", "f".repeat(32)),
    );
}

#[test]
fn pythons_prometheus_parser_reads_every_family_with_its_type_and_labels() {
    let families = "('ng_batch_records', 'histogram', 19) ('ng_build_info', 'gauge', 1) \
         ('ng_fill_ratio', 'gauge', 1) ('ng_limit_bytes', 'gauge', 2) ('ng_odd_level', 'gauge', 9) \
         ('ng_open_files', 'gauge', 1) ('ng_ops', 'counter', 1) ('ng_read_bytes', 'histogram', 38) \
         ('ng_syncs', 'counter', 2) ('ng_wait_duration_seconds', 'histogram', 19) \
         ('ng_wal_bytes', 'counter', 2)";
    python_reads(
        "prometheus_client.parser",
        Format::Prometheus,
        &format!("{families}\n{ODD_READ}\n0"),
    );
}

/// A Prometheus server with a folder of its own; both go when it is dropped.
struct Prometheus {
    child: Child,
    address: String,
    dir: PathBuf,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.dir).ok();
    }
}

impl Prometheus {
    /// Starts one that scrapes `target` each second. `None` if there is no such program.
    fn start(target: &str) -> Option<Self> {
        let name = format!("prometheus-{}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&dir).unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs: [{{job_name: shop, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        fs::write(dir.join("prometheus.yml"), config).unwrap();
        // It takes no port 0; this one was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let child = command("prometheus")
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--enable-feature=exemplar-storage")
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("log")).unwrap())
            .spawn();
        match child {
            Ok(child) => Some(Self { child, address, dir }),
            Err(_) => {
                fs::remove_dir_all(&dir).ok();
                None
            }
        }
    }

    /// What its API answers, once the answer holds `wanted`. It may take some scrapes until then.
    fn answers(&self, path: &str, query: &str, wanted: &str, scrapes: &Receiver<Format>) -> String {
        let mut escaped = String::new();
        query.bytes().for_each(|byte| escaped += &format!("%{byte:02X}"));
        let path = format!("/api/v1/{path}={escaped}");
        let mut answer = String::new();
        for _ in 0..20 {
            answer = shop::fetch(&self.address, &path).unwrap_or_else(|error| error.to_string());
            if answer.contains(wanted) {
                return answer;
            }
            self.scraped(scrapes);
        }
        panic!("{query}: no {wanted} in {answer}\n{}", self.log());
    }

    /// Waits for the next scrape.
    fn scraped(&self, scrapes: &Receiver<Format>) -> Format {
        let scrape = scrapes.recv_timeout(Duration::from_secs(60));
        scrape.unwrap_or_else(|_| panic!("no scrape for a minute\n{}", self.log()))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

#[test]
fn a_prometheus_server_scrapes_the_example_and_answers_queries_about_it() {
    let shop = shop::Shop::open().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(prometheus) = Prometheus::start(&listener.local_addr().unwrap().to_string()) else {
        return left_out("prometheus");
    };
    let (sender, scrapes) = channel();
    // The server ends with the process, or at the first scrape that nobody waits for.
    thread::spawn(move || {
        let mut trace = 0xabc0;
        shop::serve(&listener, &shop.registry, |format| {
            trace += 1;
            shop.take_order(trace);
            sender.send(format).is_ok()
        })
    });
    for _ in 0..4 {
        assert_eq!(prometheus.scraped(&scrapes), Format::OpenMetrics, "it asks for OpenMetrics");
    }
    let ask =
        |query: &str, wanted: &str| prometheus.answers("query?query", query, wanted, &scrapes);
    ask("up{job='shop'}", r#""1"]"#);
    ask("shop_orders_total >= 3", "shop_orders_total");
    ask("rate(shop_orders_total[10s]) > 0.1", r#""job":"shop""#);
    ask("time() - shop_orders_created < 600", r#""job":"shop""#);
    ask("shop_build_info", concat!("\"version\":\"", env!("CARGO_PKG_VERSION"), "\""));
    ask(r#"shop_lane_fill_ratio{lane="say \"hello\"\\\n"}"#, r#""+Inf"]"#);
    let median = "histogram_quantile(0.5, rate(shop_packing_duration_seconds_bucket[10s]))";
    ask(&format!("{median} > 0.001 and {median} < 0.0042"), r#""job":"shop""#);
    prometheus.answers("metadata?metric", "shop_orders", r#""type":"counter""#, &scrapes);
    let traces = "query_exemplars?start=0&end=9999999999&query";
    let trace = "0000000000000000000000000000abc1";
    prometheus.answers(traces, "shop_orders_total", trace, &scrapes);
    prometheus.answers(traces, "shop_packing_duration_seconds_bucket", trace, &scrapes);
}
