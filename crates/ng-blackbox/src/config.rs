//! Size and history of a recorder; nothing here can change once the file is mapped.

use crate::{error::ConfigError, format};

/// Settings of a [`Recorder`](crate::Recorder).
///
/// The file takes `(lanes + 1) × events_per_lane × 64` bytes and some 60 KiB: 4.3 MiB by default.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecorderConfig {
    /// How many threads can have a lane of their own at one time; further ones share one more lane.
    /// Unit: lanes. Range: 1 to 1024. Default: 16.
    pub lanes: u32,
    /// How many events a lane remembers; older ones are overwritten.
    /// Unit: events of 64 bytes. Range: 64 to 1048576, a power of two; the whole file must stay
    /// within 1 GiB. Default: 4096.
    pub events_per_lane: u32,
    /// How many files of earlier runs stay in the directory beside the current one: the newest ones. Up to
    /// two more stay beyond them, so that a program that crashes at each start cannot push out what came
    /// first: of the latest row of runs that were not closed in good order, the first, and of the latest
    /// row of runs in which a thread panicked, the first.
    /// Unit: files. Range: 1 to 1000. Default: 3.
    pub keep_files: u32,
}

impl Default for RecorderConfig {
    fn default() -> Self {
        Self { lanes: 16, events_per_lane: 4096, keep_files: 3 }
    }
}

impl RecorderConfig {
    /// Checks each field, and their product against the largest file.
    ///
    /// Errors: the first bad field, its value and what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let bad = |field, value: u64, allowed| Err(ConfigError { field, value, allowed });
        if !format::LANES.contains(&self.lanes) {
            return bad("lanes", self.lanes.into(), "1 to 1024");
        }
        if !format::is_ring_size(self.events_per_lane) {
            let allowed = "a power of two from 64 to 1048576";
            return bad("events_per_lane", self.events_per_lane.into(), allowed);
        }
        if !(1..=1000).contains(&self.keep_files) {
            return bad("keep_files", self.keep_files.into(), "1 to 1000");
        }
        if self.geometry().file_bytes() > format::FILE_BYTES_MAX {
            let allowed = "with this number of lanes, a file of at most 1 GiB";
            return bad("events_per_lane", self.events_per_lane.into(), allowed);
        }
        Ok(())
    }

    pub(crate) fn geometry(&self) -> format::Geometry {
        format::Geometry { lanes: self.lanes, events_per_lane: self.events_per_lane }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_refused(change: impl FnOnce(&mut RecorderConfig)) -> Option<&'static str> {
        let mut config = RecorderConfig::default();
        change(&mut config);
        config.validate().err().map(|e| e.field)
    }

    #[test]
    fn each_field_is_refused_just_outside_its_range_and_taken_at_its_ends() {
        assert_eq!(field_refused(|_| {}), None);
        assert_eq!(field_refused(|c| c.lanes = 0), Some("lanes"));
        assert_eq!(field_refused(|c| c.lanes = 1024), None);
        assert_eq!(field_refused(|c| c.lanes = 1025), Some("lanes"));
        assert_eq!(field_refused(|c| c.events_per_lane = 32), Some("events_per_lane"));
        assert_eq!(field_refused(|c| c.events_per_lane = 64), None);
        assert_eq!(field_refused(|c| c.events_per_lane = 96), Some("events_per_lane"));
        assert_eq!(field_refused(|c| c.events_per_lane = 1 << 21), Some("events_per_lane"));
        assert_eq!(field_refused(|c| c.events_per_lane = 1 << 20), Some("events_per_lane"));
        assert_eq!(field_refused(|c| c.keep_files = 0), Some("keep_files"));
        assert_eq!(field_refused(|c| c.keep_files = 1001), Some("keep_files"));
    }
}
