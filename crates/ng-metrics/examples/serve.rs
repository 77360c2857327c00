//! Serves a page to a Prometheus server, in the text form that it asks for.
//!
//! `cargo run --example serve -- 127.0.0.1:9184` serves until it is stopped; without an address it
//! takes a free port, fetches one page as a scraper would, prints it and ends. Give the address as a
//! target to Prometheus; with `--enable-feature=exemplar-storage` it keeps the trace ids too.
//!
//! The HTTP here is the least that a scraper needs; a service has its own, and needs of this crate
//! only the three lines of `respond`.

#![allow(clippy::print_stderr)] // it talks to a terminal too

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use ng_metrics::{Counter, Format, Histogram, RegisterError, Registry, TraceRef};
use quietly::quietly;

#[path = "console/quietly.rs"]
mod quietly;

/// A shop that counts its orders, and what happens in it.
pub struct Shop {
    /// What a scraper gets.
    pub registry: Registry,
    orders: Counter,
    packing: Histogram,
}

impl Shop {
    /// One that has sold nothing yet.
    pub fn open() -> Result<Self, RegisterError> {
        let registry = Registry::new("shop")?;
        registry.info(
            "build",
            "Version of the shop.",
            &[("version", env!("CARGO_PKG_VERSION"))],
        )?;
        let lanes = registry.gauge_family("lane_fill_ratio", "Use of each lane.", ["lane"], 8)?;
        lanes.with(&["express"]).set(0.25);
        lanes.with(&["say \"hello\"\\\n"]).set(f64::INFINITY);
        let orders = registry.counter("orders", "Orders taken.")?;
        let packing = registry.histogram_seconds("packing_duration_seconds", "Time to pack.")?;
        Ok(Self { registry, orders, packing })
    }

    /// Takes an order that was packed within 2 ms, in a trace of this number.
    pub fn take_order(&self, trace_id: u128) {
        let trace = TraceRef { trace_id, span_id: 0 };
        self.orders.add_traced(1, trace);
        self.packing.record_traced(2_000_000, trace);
    }
}

/// Answers each request with a page, for as long as `after_each` says to go on.
pub fn serve(
    listener: &TcpListener,
    registry: &Registry,
    mut after_each: impl FnMut(Format) -> bool,
) -> io::Result<()> {
    for connection in listener.incoming() {
        // Who breaks off in the middle of a request is no concern of the others.
        let answered = connection.and_then(|stream| respond(stream, registry));
        if answered.is_ok_and(|format| !after_each(format)) {
            break;
        }
    }
    Ok(())
}

fn respond(mut stream: TcpStream, registry: &Registry) -> io::Result<Format> {
    let mut accept = None;
    for line in BufReader::new(&stream).lines() {
        let line = line?;
        match line.split_once(':') {
            _ if line.is_empty() => break,
            Some((name, value)) if name.eq_ignore_ascii_case("accept") => {
                accept = Some(value.trim().to_owned());
            }
            _ => {}
        }
    }
    let format = Format::negotiate(accept.as_deref());
    let page = registry.encode(format);
    let kind = format.content_type();
    let length = page.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
    )?;
    Ok(format)
}

/// Fetches what is at `path`, with head and body, over a connection of its own.
pub fn fetch(address: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let accept = "application/openmetrics-text";
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn main() -> Result<(), Box<dyn Error>> {
    quietly(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let shop = Shop::open()?;
    (1..=3).for_each(|trace| shop.take_order(trace));
    if let Some(address) = std::env::args().nth(1) {
        let listener = TcpListener::bind(&address)?;
        eprintln!("http://{}/metrics", listener.local_addr()?);
        return Ok(serve(&listener, &shop.registry, |_| true)?);
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let server = thread::spawn(move || serve(&listener, &shop.registry, |_| false));
    writeln!(io::stdout(), "{}", fetch(&address, "/metrics")?)?;
    server.join().expect("the server does not panic")?;
    Ok(())
}
