//! Prints the bars of a report: `cargo run -p ng-stress --example bars -- target/stress/<time>/report.json`.
//! Without an argument it shows the form on a report of its own.

#[path = "../src/console.rs"]
#[allow(dead_code, reason = "it takes its one argument as it is")]
mod console;

use std::process::ExitCode;

use console::Unwritten;
use serde_json::Value;

const FORM: &str = r#"{"schema": "neurograph-stress/1", "bars": [
    {"id": "P2", "value": 1.05, "bar": 1.2, "goal": 1.1, "pass": true},
    {"id": "P8", "value": null, "bar": 64.5, "goal": 64.02, "pass": null}]}"#;

fn main() -> ExitCode {
    let text = match std::env::args().nth(1) {
        Some(path) => {
            std::fs::read_to_string(&path).map_err(|e| format!("cannot read {path}: {e}"))
        }
        None => Ok(FORM.to_owned()),
    };
    let bars = match text.and_then(|text| bars(&text)) {
        Ok(bars) => bars,
        Err(reason) => {
            console::tell(format_args!("bars: {reason}\n"));
            return ExitCode::from(2);
        }
    };
    match console::print(format_args!("{bars}")) {
        Ok(()) | Err(Unwritten::Closed) => ExitCode::SUCCESS,
        Err(Unwritten::Failed(error)) => {
            console::tell(format_args!("bars: cannot write to stdout: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// A line for each bar.
fn bars(report: &str) -> Result<String, String> {
    let report: Value = serde_json::from_str(report).map_err(|error| error.to_string())?;
    if report["schema"] != "neurograph-stress/1" {
        return Err(format!("schema {} is not neurograph-stress/1", report["schema"]));
    }
    let lines = report["bars"].as_array().into_iter().flatten().map(|bar| {
        let verdict = match bar["pass"].as_bool() {
            Some(true) => "held",
            Some(false) => "missed",
            None => "not judged",
        };
        let id = bar["id"].as_str().unwrap_or("?");
        format!("{id:20} {} (at most {}): {verdict}\n", bar["value"], bar["bar"])
    });
    Ok(lines.collect())
}
