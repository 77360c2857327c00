//! How an example ends where nobody reads what it prints.

use std::error::Error;
use std::io::{self, ErrorKind};

/// What `main` returns. A reader that has gone, as `head` goes when it has enough, is no error: the program ends silently
/// and well, and what it held was dropped in good order. `println!` would panic in its place.
pub(crate) fn quietly(ended: Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    let gone = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
    match ended {
        Err(error) if error.downcast_ref().is_some_and(gone) => Ok(()),
        other => other,
    }
}
