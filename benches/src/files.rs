//! Where the groups of the log make their files, and the raw file that is their floor.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
};

use tempfile::TempDir;

use crate::{
    console,
    row::{Failure, Work},
};

/// The folder of this run, made inside the one that was asked for. Only it goes when this is dropped.
pub(crate) struct Data {
    /// Held for its drop.
    _made: TempDir,
    dir: &'static Path,
}

impl Data {
    pub(crate) fn make(parent: &Path) -> Result<Data, Failure> {
        let made = fs::create_dir_all(parent)
            .and_then(|()| tempfile::Builder::new().prefix("neurograph-bench-").tempdir_in(parent))
            .map_err(|error| {
                let line = format!("cannot make files in {}: {error}", parent.display());
                Failure::of_path(line, &error)
            })?;
        // One path a run, so that `Work` stays a plain value.
        let dir = made.path().to_path_buf().leak();
        Ok(Data { _made: made, dir })
    }

    pub(crate) fn dir(&self) -> &'static Path {
        self.dir
    }

    /// Ctrl-C and SIGTERM leave nothing behind either.
    pub(crate) fn go_when_interrupted(&self) -> Result<(), Failure> {
        let dir = self.dir;
        let go = move || {
            console::tell(format_args!("bench-report: interrupted\n"));
            // A row may make a file in between: then the second look finds it.
            let _ = fs::remove_dir_all(dir).or_else(|_| fs::remove_dir_all(dir));
            std::process::exit(130);
        };
        ctrlc::set_handler(go)
            .map_err(|error| Failure::Environment(format!("cannot listen for Ctrl-C: {error}")))
    }
}

/// An empty folder for one row, or one round of it.
pub(crate) fn fresh_dir(work: &Work) -> Result<TempDir, Failure> {
    tempfile::tempdir_in(work.dir).map_err(failed("make a folder"))
}

/// A file operation of a floor that did not work.
pub(crate) fn failed(what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Environment(format!("cannot {what}: {error}"))
}

/// A file with all of its blocks written and synced, so that later writes change no metadata.
pub(crate) struct Raw {
    pub(crate) file: File,
    _dir: TempDir,
}

impl Raw {
    /// Zeroes where `bytes` is not 0; else an empty file that grows.
    pub(crate) fn make(work: &Work, bytes: u64) -> Result<Raw, Failure> {
        let dir = fresh_dir(work)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(dir.path().join("raw"))
            .map_err(failed("create a file"))?;
        // In pieces that the kernel keeps as small pages: a small write into a large one takes longer.
        let zeroes = vec![0; 64 << 10];
        let mut at = 0;
        while at < bytes {
            let step = (bytes - at).min(zeroes.len() as u64);
            file.write_all_at(&zeroes[..step as usize], at).map_err(failed("write zeroes"))?;
            at += step;
        }
        file.sync_all().map_err(failed("sync a file"))?;
        File::open(dir.path()).and_then(|dir| dir.sync_all()).map_err(failed("sync a folder"))?;
        Ok(Raw { file, _dir: dir })
    }

    /// Writes `image` from the start on, in `parts` that are synced one after the other.
    pub(crate) fn write_in_parts(&self, image: &[u8], parts: u64) -> Result<(), Failure> {
        // Whole blocks: a sync would write a block again that the next part goes on with.
        let part = (image.len().div_ceil(parts.max(1) as usize)).next_multiple_of(4096);
        for (number, bytes) in image.chunks(part).enumerate() {
            let at = (number * part) as u64;
            self.file.write_all_at(bytes, at).map_err(failed("write"))?;
            self.file.sync_data().map_err(failed("sync a file"))?;
        }
        Ok(())
    }

    pub(crate) fn holds(&self, image: &[u8]) -> Result<bool, Failure> {
        let mut found = vec![0; image.len()];
        self.file.read_exact_at(&mut found, 0).map_err(failed("read back"))?;
        Ok(found == image)
    }
}

/// The segments of the log in `dir`, in order.
pub(crate) fn segments(dir: &Path) -> Result<Vec<std::path::PathBuf>, Failure> {
    let entries = fs::read_dir(dir).map_err(failed("list the log"))?;
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    paths.sort();
    Ok(paths)
}

/// All bytes of the segments in `dir`, at most `most` of them.
pub(crate) fn image_of(dir: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let mut image = Vec::new();
    for path in segments(dir)? {
        let left = most - image.len() as u64;
        let mut file = File::open(path).map_err(failed("open a segment"))?.take(left);
        file.read_to_end(&mut image).map_err(failed("read a segment"))?;
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_run_goes_and_what_lay_beside_it_stays() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("mine"), "x").unwrap();
        let data = Data::make(parent.path()).unwrap();
        fs::write(data.dir().join("made"), "y").unwrap();
        let dir = data.dir();
        drop(data);
        assert!(!dir.exists() && parent.path().join("mine").exists());
    }

    #[test]
    fn a_raw_file_holds_the_image_in_however_many_parts_it_came() {
        let image: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        for (bytes, parts) in [(0, 1), (100_000, 7), (0, 1000)] {
            let raw = Raw::make(&Work::small(), bytes).unwrap();
            raw.write_in_parts(&image, parts).unwrap();
            assert!(raw.holds(&image).unwrap());
            assert!(!raw.holds(&[&image[1..], &[0]].concat()).unwrap());
        }
    }
}
