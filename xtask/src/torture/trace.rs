//! Reads the log of `strace -f -y -xx`: system calls with the moments they began and ended, in the order strace saw them.
//! A call that ended was seen to end before any call that it could have caused began, so the order can be trusted.

use std::collections::HashMap;

/// One system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    /// Line numbers: when it began, and when it was seen to have ended.
    pub(super) begin: usize,
    pub(super) end: Option<usize>,
    /// What it returned; negative after an error. `None`: its process died in it.
    pub(super) result: Option<i64>,
    /// `EIO` and the like.
    pub(super) error: Option<String>,
}

impl Call {
    /// The path behind the file descriptor at `at`, or of the file it returned.
    pub(super) fn file(&self, at: usize) -> Option<String> {
        self.args.get(at).and_then(|arg| path_of(arg))
    }

    /// The name at `at`, which is relative to the directory before it, if there is one.
    pub(super) fn name_at(&self, at: usize) -> Option<String> {
        let bytes = quoted(self.args.get(at)?);
        let name = String::from_utf8(bytes).ok()?;
        let dir = at.checked_sub(1).and_then(|before| self.file(before));
        Some(match dir {
            Some(dir) if !name.starts_with('/') => format!("{dir}/{name}"),
            _ => name,
        })
    }

    /// Bytes handed over, as far as strace shows them.
    pub(super) fn data(&self) -> Vec<u8> {
        self.args.get(1).map(|arg| quoted(arg)).unwrap_or_default()
    }

    pub(super) fn number(&self, at: usize) -> Option<u64> {
        self.args.get(at)?.parse().ok()
    }

    pub(super) fn succeeded(&self) -> bool {
        self.result.is_some_and(|result| result >= 0)
    }
}

/// All calls, by their beginning.
pub(super) fn parse(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    for (at, line) in text.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            if let Some(call) = unfinished.remove(pid).and_then(|index| calls.get_mut(index)) {
                call.end = Some(at);
                let result = returned(resumed).map(|(_, result)| result);
                (call.result, call.error) = (result.and_then(value), result.and_then(errno));
            }
            continue;
        }
        let Some((name, rest)) = rest.split_once('(') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue; // `+++ exited …`, `--- SIGCHLD …`
        }
        let (args, end, text) = match rest.strip_suffix("<unfinished ...>") {
            Some(args) => (args, None, None),
            None => match returned(rest) {
                Some((args, text)) => (args, Some(at), Some(text)),
                None => continue,
            },
        };
        let (result, error) = (text.and_then(value), text.and_then(errno));
        if end.is_none() {
            unfinished.insert(pid, calls.len());
        }
        let args = split(args.trim_end());
        calls.push(Call { name: name.to_owned(), args, begin: at, end, result, error });
    }
    calls
}

/// What stands before the closing bracket, and after the equals sign that strace moves to the right by blanks.
fn returned(rest: &str) -> Option<(&str, &str)> {
    let (args, result) = rest.rsplit_once(" = ")?;
    Some((args.trim_end().strip_suffix(')')?, result))
}

/// `5</path>`, `-1 EIO (…) (INJECTED)`, `?`.
fn value(result: &str) -> Option<i64> {
    let digits = result.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// `EIO` of `-1 EIO (Input/output error)`.
fn errno(result: &str) -> Option<String> {
    let name = result.trim_start().strip_prefix("-1 ")?.split(' ').next()?;
    name.starts_with('E').then(|| name.to_owned())
}

/// Arguments: commas inside quotes and brackets do not count.
fn split(args: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut depth, mut quoted) = (0, false);
    for c in args.chars() {
        match c {
            '"' => quoted = !quoted,
            '<' | '[' | '{' | '(' if !quoted => depth += 1,
            '>' | ']' | '}' | ')' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(std::mem::take(&mut part).trim().to_owned());
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    if !part.trim().is_empty() {
        parts.push(part.trim().to_owned());
    }
    parts
}

/// `/path` of `5</path>`.
pub(super) fn path_of(arg: &str) -> Option<String> {
    let inner = arg.split_once('<')?.1.strip_suffix('>')?;
    String::from_utf8(unescaped(inner)).ok()
}

/// What stands between quotes, all of it in a row: a vector of buffers is one write.
fn quoted(arg: &str) -> Vec<u8> {
    arg.split('"').skip(1).step_by(2).flat_map(unescaped).collect()
}

/// `\x41` is A; anything else is itself.
fn unescaped(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len() / 4), 0);
    while at < bytes.len() {
        let hex = bytes.get(at..at + 4).filter(|part| part.starts_with(br"\x"));
        let hex = hex.and_then(|part| std::str::from_utf8(&part[2..]).ok());
        match hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_interrupted_in_the_log_has_both_its_moments() {
        let calls = parse(concat!(
            "7  pwrite64(3</d/\\x61,b>, \"\\x4f\\x2c\"..., 2, 4096 <unfinished ...>\n",
            "8  fdatasync(4</d/b>) = -1 EIO (Input/output error) (INJECTED)\n",
            "7  <... pwrite64 resumed>)           = 2\n",
            "8  +++ exited with 0 +++\n",
            "7  fsync(5</d> <unfinished ...>\n",
        ));
        assert_eq!(calls.len(), 3);
        assert_eq!((calls[0].begin, calls[0].end, calls[0].result), (0, Some(2), Some(2)));
        assert_eq!(calls[0].file(0).as_deref(), Some("/d/a,b"));
        assert_eq!((calls[0].data(), calls[0].number(3)), (b"O,".to_vec(), Some(4096)));
        assert_eq!((calls[1].error.as_deref(), calls[1].succeeded()), (Some("EIO"), false));
        assert_eq!((calls[2].end, calls[2].result), (None, None));
    }

    #[test]
    fn names_are_joined_to_the_directory_they_are_relative_to() {
        let call =
            &parse("7 openat(AT_FDCWD</home>, \"\\x64/\\x65\", O_RDONLY) = 3</home/d/e>\n")[0];
        assert_eq!(call.name_at(1).as_deref(), Some("/home/d/e"));
        assert_eq!(call.result, Some(3));
        let call = &parse("7 rename(\"/a\", \"/b\") = 0\n")[0];
        assert_eq!(
            (call.name_at(0).as_deref(), call.name_at(1).as_deref()),
            (Some("/a"), Some("/b"))
        );
    }
}
