//! The groups of the report, in its order: one line each.

mod create;

use crate::row::Group;

/// All groups, ready to be measured.
pub(crate) fn all() -> Vec<Group> {
    vec![create::group()]
}
