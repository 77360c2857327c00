//! What stands in for a mapping where this crate has none: memory of the process. A recorder in a file is
//! refused there, so a recording dies with its process, unless the panic hook dumps it.

use std::{
    fs::File,
    io::{self, Write},
};

use crate::{
    format,
    sync::{AtomicU64, Ordering},
};

#[derive(Debug)]
pub(crate) struct Mapping(Box<[AtomicU64]>);

impl Mapping {
    pub(crate) fn of_file(_: &File, _: usize) -> io::Result<Mapping> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Zeroed memory of this process.
    pub(crate) fn anonymous(bytes: usize) -> io::Result<Mapping> {
        let words = bytes / size_of::<AtomicU64>();
        Ok(Mapping((0..words).map(|_| AtomicU64::new(0)).collect()))
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        &self.0
    }

    pub(crate) fn populate(&self) {}

    pub(crate) fn flush_start(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn lost_pages(&self) -> u64 {
        0
    }

    /// Writes all of it.
    pub(crate) fn write_to(&self, mut file: &File) -> io::Result<()> {
        self.0
            .iter()
            .try_for_each(|word| file.write_all(&format::bytes_of(word.load(Ordering::Acquire))))
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// No mapping, so nothing to guard: an error.
pub fn install_bus_guard() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
