//! For people: look at a log, judge it, show it, save what can be read, copy one in use. Nothing of the
//! log itself needs this room, but for the handle that hands out [`backup`].

pub(crate) mod backup;
pub(crate) mod dump;
pub(crate) mod inspect;
pub(crate) mod salvage;
pub(crate) mod verify;
