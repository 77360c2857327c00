//! Credits that give themselves back: for owners who have no lease of their own.

use std::time::{Duration, Instant};

use crate::error::Refusal;
use crate::guardian::Guardian;
use crate::ledger::Granted;
use crate::mutants;

/// Credits in use until this is dropped, also in a panic. Made by [`Guardian::permit`].
#[derive(Debug)]
#[must_use = "a permit that is dropped at once gives its credits back at once"]
pub struct Permit {
    guardian: Guardian,
    credits: u32,
}

impl Permit {
    /// How many credits it holds: as many as were asked for.
    pub fn credits(&self) -> u32 {
        self.credits
    }

    /// Keeps the credits in use beyond this permit; the caller now owes them back, as after
    /// [`Guardian::reserve`].
    pub fn keep(mut self) -> Granted {
        Granted { credits: std::mem::take(&mut self.credits) }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.credits > 0 && !mutants::on("guardian-permit-kept") {
            self.guardian.release(u64::from(self.credits));
        }
    }
}

impl Guardian {
    /// Exactly `credits` credits, all or none, which come back when the permit is dropped. Not
    /// bounded by `lease_credits_max`.
    ///
    /// Refuses only if at some instant during this call fewer were free; idle credits in leases
    /// and credits in release cells count as free, as for [`reserve`](Self::reserve). Never waits
    /// for credits.
    pub fn permit(&self, credits: u32) -> Result<Permit, Refusal> {
        self.ledger().reserve_exact(credits)?;
        Ok(Permit { guardian: self.clone(), credits })
    }

    /// As [`permit`](Self::permit), and waits up to `timeout` for credits to come back. The last
    /// refusal is returned if they do not, and counted once.
    ///
    /// Sleeps until credits are released, a permit is dropped, or a limit changes. Nobody is told
    /// of a release into a [`ReleaseCell`](crate::ReleaseCell); where there are cells, the wait
    /// looks into them, and asks the [`Holder`](crate::Holder), each 10 ms. There is no order
    /// among those who wait. It also waits for more credits than the limit, which can be raised.
    pub fn permit_timeout(&self, credits: u32, timeout: Duration) -> Result<Permit, Refusal> {
        // A timeout that no clock can hold is one without an end.
        let deadline = Instant::now().checked_add(timeout);
        self.ledger().reserve_exact_until(credits, deadline)?;
        Ok(Permit { guardian: self.clone(), credits })
    }
}
