//! Pages read by other people's parsers, where the machine has them: `promtool` and the Python
//! package `prometheus_client`. A check that is left out says so; it never passes silently.

#![allow(clippy::print_stderr)] // a check that is left out says why

use std::io::Write;
use std::process::{Command, Output, Stdio};

use ng_metrics::{Collect, Format, Registry};

fn page(format: Format) -> String {
    let registry = Registry::new("ng").unwrap();
    registry.info("build", "Version.", &[("version", "1 \"a\" \\ \n")]).unwrap();
    registry.counter("ops", r#"Operations, "quoted" \."#).unwrap().add(3);
    let family = registry.counter_family("wal_bytes", "Bytes written.", ["kind"], 1).unwrap();
    family.with(&["a\"\\\n # {b"]).add(5);
    family.with(&["beyond"]).add(6);
    let wait = registry.histogram_seconds("wait_duration_seconds", "Waits.").unwrap();
    (0..64).for_each(|power| wait.record(1 << power));
    registry.histogram("batch_records", "Records of a batch.").unwrap().record(100);
    registry.source(Box::new(|out: &mut Collect<'_>| {
        out.gauge_labeled("limit_bytes", "Limits.", "of", &[("a", f64::INFINITY), ("b", 1e300)]);
        out.gauge("fill_ratio", "Fill.", f64::NAN);
        out.counter_labeled("syncs", "Syncs.", "why", &[("age", 1), ("count", 2)]);
    }));
    registry.encode(format)
}

/// Runs a command with `input`; `None` if there is no such program.
fn run(program: &str, args: &[&str], input: &str) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    Some(child.wait_with_output().unwrap())
}

#[test]
fn promtool_finds_nothing_wrong_with_the_prometheus_page() {
    let page = page(Format::Prometheus);
    let Some(output) = run("promtool", &["check", "metrics"], &page) else {
        eprintln!("left out: there is no `promtool` here (Debian's package `prometheus` has it)");
        return;
    };
    assert!(output.status.success(), "{output:?}\n{page}");
}

/// The Python that `NG_PYTHON` names, else `python3`; it must have the package.
fn python_reads(module: &str, format: Format, expected: &str) {
    let python = std::env::var("NG_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_package = run(&python, &["-c", "import prometheus_client"], "");
    if !has_package.is_some_and(|output| output.status.success()) {
        eprintln!(
            "left out: `{python}` has no package prometheus_client (PyPI: prometheus-client)"
        );
        return;
    }
    let script = format!(
        "import sys\nfrom {module} import text_string_to_metric_families as parse\n\
         print(*sorted((f.name, f.type, len(f.samples)) for f in parse(sys.stdin.read())))"
    );
    let page = page(format);
    let output = run(&python, &["-c", &script], &page).unwrap();
    assert!(output.status.success(), "{}\n{page}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected);
}

#[test]
fn pythons_strict_openmetrics_parser_reads_every_family() {
    python_reads(
        "prometheus_client.openmetrics.parser",
        Format::OpenMetrics,
        "('ng_batch_records', 'histogram', 19) ('ng_build', 'info', 1) \
         ('ng_fill_ratio', 'gauge', 1) ('ng_limit_bytes', 'gauge', 2) ('ng_ops', 'counter', 1) \
         ('ng_syncs', 'counter', 2) ('ng_wait_duration_seconds', 'histogram', 19) \
         ('ng_wal_bytes', 'counter', 2)",
    );
}

#[test]
fn pythons_prometheus_parser_reads_every_family_with_its_type() {
    python_reads(
        "prometheus_client.parser",
        Format::Prometheus,
        "('ng_batch_records', 'histogram', 19) ('ng_build_info', 'gauge', 1) \
         ('ng_fill_ratio', 'gauge', 1) ('ng_limit_bytes', 'gauge', 2) ('ng_ops', 'counter', 1) \
         ('ng_syncs', 'counter', 2) ('ng_wait_duration_seconds', 'histogram', 19) \
         ('ng_wal_bytes', 'counter', 2)",
    );
}
