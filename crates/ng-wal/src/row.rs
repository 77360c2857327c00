//! The rows of the recovery table: each state in which a log can be found has one. And what the end of
//! a log looks like.

use std::fmt;

macro_rules! rows {
    ($($name:ident = $number:literal, $says:literal;)*) => {
        /// A row of the recovery table (docs/FORMAT.md): the state that a log was found in.
        ///
        /// Numbers that are missing here are not states of the files: 30 (locked), 31 (read-only),
        /// 36 and 37 (the disk refuses a read or a sync), 39 (the disk is full), 40 (the clock).
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Row {
            $(#[doc = $says] $name,)*
        }

        impl Row {
            /// Every row, by number.
            pub const ALL: &[Row] = &[$(Row::$name,)*];

            /// Its number in the table.
            pub const fn number(self) -> u8 {
                match self { $(Row::$name => $number,)* }
            }

            /// The state, in words.
            pub const fn says(self) -> &'static str {
                match self { $(Row::$name => $says,)* }
            }
        }
    };
}

rows! {
    R01 = 1, "no segment, and nobody needs one: a new log";
    R02 = 2, "no segment, though the owner needs records";
    R03 = 3, "zeroes, or the end of the file, after the last frame";
    R04 = 4, "what an older file held, after the last frame";
    R05 = 5, "zeroes or an older file's bytes where records were proven durable";
    R06 = 6, "the last frame's payload is torn";
    R07 = 7, "the last frame's header is torn";
    R08 = 8, "a hole, then frames that a crash let reach the disk before it";
    R09 = 9, "damage before a frame that attests the damaged records durable";
    R10 = 10, "damage in a segment whose successor begins behind it";
    R11 = 11, "damage wider than one crash can cause";
    R12 = 12, "damage before the seal of a closed log";
    R13 = 13, "a segment is absent from the middle";
    R14 = 14, "the segment that a rotate frame names is absent";
    R15 = 15, "the oldest segments are retired";
    R16 = 16, "the log begins behind the first record that the owner needs";
    R17 = 17, "the log ends before the owner's checkpoint does";
    R18 = 18, "a valid frame of another place in the order, at the end";
    R19 = 19, "a segment under another's number";
    R20 = 20, "a half-prepared file after the last segment";
    R21 = 21, "a half-prepared file that a rotate frame names";
    R22 = 22, "a complete segment ends too early, at a frame's end";
    R23 = 23, "the file ends inside a frame";
    R24 = 24, "a file longer than its segment";
    R25 = 25, "a file with a damaged header and no frame after the last segment";
    R26 = 26, "the header or start frame of a segment in use is damaged";
    R27 = 27, "a segment of another store";
    R28 = 28, "files that are not the log's";
    R29 = 29, "a link or another thing with a segment's name";
    R32 = 32, "a newer format";
    R33 = 33, "a header of another byte order";
    R34 = 34, "a file with a segment's name that is no segment";
    R35 = 35, "segments of another size than the settings say";
    R38 = 38, "a successor without records, as an interrupted open leaves it";
    R41 = 41, "closed cleanly";
    R42 = 42, "a state that the table does not know";
    R43 = 43, "the newest segment that the owner knows of is absent";
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}: {}", self.number(), self.says())
    }
}

/// What the end of the log looked like.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tail {
    /// There was no log.
    #[default]
    New,
    /// Closed cleanly.
    Sealed,
    /// The file ends after the last frame.
    End,
    /// Zeroes after the last frame.
    Zero,
    /// What the file held before it was used for this segment.
    Recycled,
    /// A write that a crash cut short, or frames that reached the disk out of order.
    Torn,
}
