//! Counts on two threads, then prints the page a scraper would get.
//!
//! `cargo run --example scrape` prints OpenMetrics; with an `Accept` header's value as argument,
//! the form it asks for: `cargo run --example scrape -- 'text/plain; version=0.0.4'`.

#![allow(clippy::print_stderr)] // it talks to a terminal too

use std::error::Error;
use std::io::{self, Write};
use std::thread;
use std::time::Instant;

use ng_metrics::{Collect, Format, Registry};
use quietly::quietly;

#[path = "console/quietly.rs"]
mod quietly;

fn main() -> Result<(), Box<dyn Error>> {
    quietly(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let accept = std::env::args().nth(1);
    let accept = accept.as_deref().unwrap_or("application/openmetrics-text");
    let format = Format::negotiate(Some(accept));

    let registry = Registry::new("shop")?;
    registry.info("build", "Version of the shop.", &[("version", env!("CARGO_PKG_VERSION"))])?;
    let orders = registry.counter("orders", "Orders taken.")?;
    let served = registry.counter_family("served", "Orders served.", ["lane"], 8)?;
    let packing = registry.histogram_seconds("packing_duration_seconds", "Time to pack.")?;
    let lines = registry.histogram("order_lines", "Lines of an order.")?;
    let fill = registry.gauge("shelf_fill_ratio", "Share of the shelf in use.")?;
    fill.set(0.75);

    // A number that exists anyway is read at the scrape.
    let opened = Instant::now();
    registry.source(Box::new(move |out: &mut Collect<'_>| {
        let seconds = opened.elapsed().as_secs_f64();
        out.gauge("open_duration_seconds", "Time since the shop opened.", seconds);
        let rooms = [("front", 4096.0), ("back", 1048576.0)];
        out.gauge_labeled("room_bytes", "Memory of each room.", "room", &rooms);
    }));

    thread::scope(|scope| {
        for lane in ["express", "normal"] {
            let (orders, packing, lines) = (&orders, &packing, &lines);
            let served = served.with(&[lane]);
            scope.spawn(move || {
                for order in 1..=1_000u64 {
                    let started = Instant::now();
                    orders.inc();
                    lines.record(order % 20);
                    served.inc();
                    packing.record(started.elapsed().as_nanos() as u64);
                }
            });
        }
    });

    write!(io::stdout(), "{}", registry.encode(format))?;
    eprintln!("Content-Type: {}", format.content_type());
    Ok(())
}
