//! The header `tracestate` of W3C Trace Context level 2, and OpenTelemetry's member `ot` in it: the only file that knows their text. Other vendors' members are handed on as they came.

use crate::{
    error::TraceStateError,
    threshold::{Randomness, Threshold},
    traceparent::trim,
};
use std::{borrow::Cow, fmt};

/// Members that a list may have.
const MEMBERS_MAX: usize = 32;
/// Bytes of a key, and of a value.
const KEY_MAX: usize = 256;
const VALUE_MAX: usize = 256;
/// When a list must be cut, members longer than this go first.
const LONG_MEMBER: usize = 128;
/// Key of OpenTelemetry's member.
const OT: &str = "ot";
/// Its sub-keys that we know.
const TH: &str = "th";
const RV: &str = "rv";
/// Digits of an `rv`, always all of them.
const RV_DIGITS: usize = 14;

/// What vendors along the way have to say about a trace: at most 32 members, the latest leftmost.
///
/// Text: `key=value` joined by `,`. Source: W3C Trace Context level 2, "tracestate Header".
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TraceState {
    /// Valid members joined by commas, no spaces between.
    text: String,
}

impl TraceState {
    /// Reads the values of all headers of this name, in their order. Empty members are passed
    /// over, equal keys are kept.
    ///
    /// Errors: the first bad member; the whole list is then to be forgotten, as W3C has it.
    pub fn parse<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Result<Self, TraceStateError> {
        let mut text = String::new();
        let members = values.into_iter().flat_map(|value| value.split(|byte| *byte == b','));
        let members = members.map(trim).filter(|member| !member.is_empty());
        for (index, member) in members.enumerate() {
            if index == MEMBERS_MAX {
                return Err(TraceStateError::TooManyMembers);
            }
            let member = std::str::from_utf8(member);
            let member = member.map_err(|_| TraceStateError::Value { index })?;
            let (key, value) = member.split_once('=').ok_or(TraceStateError::Key { index })?;
            if !is_key(key) {
                return Err(TraceStateError::Key { index });
            }
            if !is_value(value) {
                return Err(TraceStateError::Value { index });
            }
            if index > 0 {
                text.push(',');
            }
            text.push_str(member);
        }
        Ok(Self { text })
    }

    /// The header's value. Empty: send no header.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Keys and values from the left.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter_map(|member| member.split_once('='))
    }

    /// The value of the leftmost member with this key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    /// Sets a member, which so becomes the leftmost. With 32 others the rightmost goes.
    ///
    /// Errors: key or value cannot be written; nothing is changed.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), TraceStateError> {
        if !is_key(key) {
            return Err(TraceStateError::Key { index: 0 });
        }
        if !is_value(value) {
            return Err(TraceStateError::Value { index: 0 });
        }
        let others = self.without(key).take(MEMBERS_MAX - 1);
        self.text = others.fold(format!("{key}={value}"), |text, member| text + "," + member);
        Ok(())
    }

    /// Removes all members with this key; the others keep their order.
    pub fn remove(&mut self, key: &str) {
        self.text = self.without(key).collect::<Vec<_>>().join(",");
    }

    /// The value cut to at most `bytes_max` by leaving out whole members: first those longer than
    /// 128, then others, each time from the right. W3C asks for at least 512 to be handed on.
    pub fn truncated(&self, bytes_max: usize) -> Cow<'_, str> {
        let mut bytes = self.text.len();
        let mut members: Vec<&str> = self.texts().collect();
        for is_expendable in [|member: &str| member.len() > LONG_MEMBER, |_: &str| true] {
            for place in (0..members.len()).rev() {
                if bytes > bytes_max && is_expendable(members[place]) {
                    bytes = bytes.saturating_sub(members[place].len() + 1);
                    members.remove(place);
                }
            }
        }
        if bytes == self.text.len() { self.as_str().into() } else { members.join(",").into() }
    }

    /// The same of at most so many bytes, as [`truncated`](Self::truncated); but OpenTelemetry's member
    /// goes last, since without its `rv` a trace would be decided about by another number.
    pub(crate) fn cut_to(&self, bytes_max: usize) -> Self {
        if self.text.len() <= bytes_max {
            return self.clone();
        }
        let Some(ot) = self.get(OT) else { return Self { text: self.truncated(bytes_max).into() } };
        let mut others = self.clone();
        others.remove(OT);
        let room = bytes_max.saturating_sub(OT.len() + 1 + ot.len() + 1);
        let kept = others.truncated(room);
        // In its place among those that are left.
        let members = self.texts().filter(|member| {
            member.starts_with("ot=") || kept.split(',').any(|kept| kept == *member)
        });
        Self { text: members.collect::<Vec<_>>().join(",") }
    }

    /// The `th` of OpenTelemetry's member, if it is there and valid.
    pub fn threshold(&self) -> Option<Threshold> {
        self.ot(TH)?.parse().ok()
    }

    /// The `rv` of OpenTelemetry's member, if it is there and valid.
    pub fn randomness(&self) -> Option<Randomness> {
        let text = self.ot(RV)?;
        // As strict as a threshold with all its digits, and the same number.
        let digits: Threshold = text.parse().ok().filter(|_| text.len() == RV_DIGITS)?;
        Some(Randomness::from_low_bits(digits.get()))
    }

    /// Sets or removes the `th` of OpenTelemetry's member. Its other sub-keys stay, so an `rv`
    /// does; a member that breaks its own grammar goes as a whole, and so does an empty one. What is
    /// unchanged keeps its place in the list. If there is no room for the `th`, there is none.
    pub fn set_threshold(&mut self, threshold: Option<Threshold>) {
        let old = self.get(OT);
        let others = old.and_then(sub_members).unwrap_or_default();
        let others = others.into_iter().filter(|(key, _)| *key != TH);
        let others: Vec<String> = others.map(|(key, value)| format!("{key}:{value}")).collect();
        let mut subs = others.clone();
        subs.extend(threshold.map(|threshold| format!("{TH}:{threshold}")));
        subs.rotate_right(usize::from(threshold.is_some()));
        let mut new = subs.join(";");
        if new.len() > VALUE_MAX {
            new = others.join(";");
        }
        let unchanged = match old {
            Some(old) => same_subs(old, &new),
            None => new.is_empty(),
        };
        if unchanged {
            return;
        }
        if new.is_empty() || self.set(OT, &new).is_err() {
            self.remove(OT);
        }
    }

    /// A sub-value of OpenTelemetry's member, if the member as a whole is well formed.
    fn ot(&self, key: &str) -> Option<&str> {
        let subs = sub_members(self.get(OT)?)?;
        subs.into_iter().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.text.split(',').filter(|member| !member.is_empty())
    }

    fn without<'s>(&'s self, key: &'s str) -> impl Iterator<Item = &'s str> {
        let has_key = move |member: &str| member.split_once('=').is_some_and(|(k, _)| k == key);
        self.texts().filter(move |member| !has_key(member))
    }
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Level 2's keys: a letter or digit first, and no separate form for tenants.
fn is_key(key: &str) -> bool {
    let is_start = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_inner = |byte: &u8| is_start(byte) || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@');
    let bytes = key.as_bytes();
    bytes.len() <= KEY_MAX && bytes.first().is_some_and(is_start) && bytes.iter().all(is_inner)
}

fn is_value(value: &str) -> bool {
    let is_inner = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    let bytes = value.as_bytes();
    let ends_well = bytes.last().is_some_and(|byte| *byte != b' ');
    bytes.len() <= VALUE_MAX && ends_well && bytes.iter().all(is_inner)
}

/// Sub-keys and sub-values of OpenTelemetry's member; `None` if it breaks its grammar.
fn sub_members(value: &str) -> Option<Vec<(&str, &str)>> {
    let mut subs: Vec<(&str, &str)> = Vec::new();
    for sub in value.split(';') {
        let (key, value) = sub.split_once(':')?;
        let mut bytes = key.bytes();
        let key_is_good = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
            && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let in_value =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_new = subs.iter().all(|(found, _)| *found != key);
        if !(key_is_good && is_new && value.bytes().all(in_value)) {
            return None;
        }
        subs.push((key, value));
    }
    Some(subs)
}

/// Whether both say the same, in whatever order.
fn same_subs(left: &str, right: &str) -> bool {
    let sorted = |value| {
        sub_members(value).map(|mut subs| {
            subs.sort_unstable();
            subs
        })
    };
    sorted(left).is_some_and(|left| Some(left) == sorted(right))
}

#[cfg(test)]
mod tests;
