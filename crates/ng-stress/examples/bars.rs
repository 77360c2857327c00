//! Prints the bars of a report: `cargo run -p ng-stress --example bars -- target/stress/<time>/report.json`.
//! Without an argument it shows the form on a report of its own.

use std::io::Write;

use serde_json::Value;

const FORM: &str = r#"{"schema": "neurograph-stress/1", "bars": [
    {"id": "P2", "value": 1.05, "bar": 1.2, "goal": 1.1, "pass": true},
    {"id": "P8", "value": null, "bar": 64.5, "goal": 64.02, "pass": null}]}"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = match std::env::args().nth(1) {
        Some(path) => std::fs::read_to_string(path)?,
        None => FORM.to_owned(),
    };
    let report: Value = serde_json::from_str(&text)?;
    if report["schema"] != "neurograph-stress/1" {
        return Err(format!("schema {} is not neurograph-stress/1", report["schema"]).into());
    }
    let mut stdout = std::io::stdout().lock();
    for bar in report["bars"].as_array().into_iter().flatten() {
        let verdict = match bar["pass"].as_bool() {
            Some(true) => "held",
            Some(false) => "missed",
            None => "not judged",
        };
        let id = bar["id"].as_str().unwrap_or("?");
        writeln!(stdout, "{id:20} {} (at most {}): {verdict}", bar["value"], bar["bar"])?;
    }
    Ok(())
}
