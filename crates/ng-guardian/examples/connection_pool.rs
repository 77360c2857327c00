//! Guards something that is not a token: database connections, of which the server allows five.
//! Two tenants keep their connections open for reuse; when one needs a connection and none is
//! left, an idle one of the other is closed. Run: `cargo run -p ng-guardian --example
//! connection_pool`.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use ng_guardian::{Guardian, GuardianConfig, Holder, Refusal};
use quietly::quietly;

#[path = "console/quietly.rs"]
mod quietly;

/// Idle connections of one tenant, open and kept for later.
#[derive(Default)]
struct Tenant {
    idle: Mutex<Vec<Connection>>,
}

struct Connection {
    number: u32,
}

/// All tenants: gives back what lies idle with any of them.
struct Tenants(Vec<Tenant>);

impl Holder for Tenants {
    fn recall_idle(&self) -> u64 {
        let closed = self.0.iter().map(|tenant| {
            let mut idle = tenant.idle.lock().expect("no tenant panics");
            let count = idle.len() as u64;
            for connection in idle.drain(..) {
                // Where nobody reads any more, the next line of `run` says so.
                let _ = writeln!(io::stdout(), "  closed idle connection {}", connection.number);
            }
            count
        });
        closed.sum()
    }
}

impl Tenant {
    /// An idle connection, or a new one if the guardian admits it.
    fn connect(&self, guardian: &Guardian, number: u32) -> Result<Connection, Refusal> {
        if let Some(connection) = self.idle.lock().expect("no tenant panics").pop() {
            return Ok(connection);
        }
        let _one = guardian.reserve(1)?;
        Ok(Connection { number })
    }

    /// Keeps the connection, and with it its credit, for the next `connect`.
    fn put_back(&self, connection: Connection) {
        self.idle.lock().expect("no tenant panics").push(connection);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    quietly(run())
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = GuardianConfig::default();
    config.max_tokens = Some(5);
    let guardian = Guardian::new(config)?;
    let tenants = Arc::new(Tenants(vec![Tenant::default(), Tenant::default()]));
    let holder: Arc<dyn Holder> = tenants.clone();
    guardian.set_holder(&holder);
    let [first, second] = &tenants.0[..] else { unreachable!("two tenants were made") };

    writeln!(io::stdout(), "the first tenant opens five connections and puts three back")?;
    let mut open = Vec::new();
    for number in 1..=5 {
        open.push(first.connect(&guardian, number)?);
    }
    for connection in open.drain(..3) {
        first.put_back(connection);
    }

    writeln!(io::stdout(), "the second tenant asks for three")?;
    for number in 6..=8 {
        open.push(second.connect(&guardian, number)?);
        writeln!(io::stdout(), "  opened connection {number}")?;
    }

    writeln!(io::stdout(), "and for one more")?;
    match second.connect(&guardian, 9) {
        Ok(_) => return Err("five are in use, a sixth must not open".into()),
        Err(refusal) => writeln!(io::stdout(), "  {refusal}")?,
    }

    let stats = guardian.stats();
    writeln!(
        io::stdout(),
        "{} of 5 in use; {} granted, {} recalled, {} refused",
        stats.tokens_used,
        stats.granted_total,
        stats.recalled_credits_total,
        stats.refusals_tokens_total
    )?;
    assert_eq!((stats.tokens_used, stats.recalled_credits_total), (5, 3));
    Ok(())
}
