//! Rows of other logs, where the feature `peers` builds them.

#[cfg(feature = "peers")]
pub(crate) mod outside;
#[cfg(feature = "peers")]
pub(crate) use outside::{LogPeer, fill, records_of, row, trouble};

/// Rows of the named peers: `$round` takes the peer as its type. With `()` it makes what measures a round.
macro_rules! log_peer_rows {
    ($round:ident() : $($peer:ident),*) => {
        log_peer_rows!(@ $($peer),* ; Log => $round::<Log>())
    };
    ($round:ident : $($peer:ident),*) => {
        log_peer_rows!(@ $($peer),* ; Log => $round::<Log>)
    };
    (@ $($peer:ident),* ; $log:ident => $round:expr) => {{
        #[cfg(feature = "peers")]
        let rows = vec![$({
            type $log = $crate::peers_wal::outside::$peer::Log;
            $crate::peers_wal::row::<$log>($round)
        }),*];
        #[cfg(not(feature = "peers"))]
        let rows = Vec::<$crate::row::Row>::new();
        rows
    }};
}
pub(crate) use log_peer_rows;
