//! The few bytes of HTTP/1.1 that the OTLP client writes and reads, and those of protobuf that tell which spans a collector rejected. Heads are parsed by httparse; no byte of an answer can make it panic.

use http::{Request, Response, StatusCode, header};
use opentelemetry_http::{Bytes, HttpError};
use std::{
    io::{self, Read, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

/// Longest reason of a collector that is passed on.
const MESSAGE_CHARS_MAX: usize = 256;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResponseError {
    /// The connection could not be written to, or was closed before a byte of an answer came.
    #[error("the collector closed the connection before it answered")]
    Stale(#[source] io::Error),
    #[error("the connection to the collector failed")]
    Io(#[from] io::Error),
    #[error("the collector closed the connection within its answer")]
    ClosedEarly,
    #[error("the collector's answer is no HTTP/1.x")]
    Malformed(#[source] Option<httparse::Error>),
    #[error("the collector's answer exceeds {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the collector's answer cannot be passed on")]
    Http(#[from] http::Error),
}

impl ResponseError {
    /// Whether a kept connection was simply closed meanwhile.
    pub(super) fn is_stale(&self) -> bool {
        matches!(self, Self::Stale(source) if source.kind() != io::ErrorKind::TimedOut
            && source.kind() != io::ErrorKind::WouldBlock)
    }
}

/// What an answer says of the batch that it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// How long to wait before the next request, if it says that.
    pub(super) retry_after: Option<Duration>,
    /// Spans that it rejected though it took the others; not with another status than 2xx.
    pub(super) rejected: u64,
    /// Why.
    pub(super) message: String,
}

impl Answer {
    /// Whether the batch, or what is left of it, was taken.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the same batch may be taken another time (OTLP specification, "OTLP/HTTP Response").
    pub(super) fn is_retryable(&self) -> bool {
        matches!(self.status, 429 | 502 | 503 | 504)
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Known(usize),
    Chunked,
    UntilClosed,
}

/// What matters of an answer's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) length: Length,
    pub(super) keep_alive: bool,
    status: u16,
    retry_after: Option<Vec<u8>>,
}

impl Head {
    /// What it says, with this body.
    pub(super) fn answer(&self, body: &[u8], now: SystemTime) -> Answer {
        let body = match self.length {
            Length::Known(bytes) => body.get(..bytes).unwrap_or(body),
            Length::Chunked | Length::UntilClosed => body,
        };
        let retry_after = self.retry_after.as_deref();
        let retry_after = retry_after.and_then(|value| wait(value, now));
        let answer = Answer { status: self.status, retry_after, ..Answer::default() };
        match partial_success(body) {
            // What is no such message says nothing of rejected spans.
            Some((rejected, message)) if answer.is_success() => {
                Answer { rejected, message, ..answer }
            }
            _ => answer,
        }
    }

    pub(super) fn into_response(self, mut body: Vec<u8>) -> Result<Response<Bytes>, ResponseError> {
        if let Length::Known(bytes) = self.length {
            body.truncate(bytes);
        }
        let status = StatusCode::from_u16(self.status).map_err(http::Error::from)?;
        let mut response = Response::builder().status(status);
        if let Some(seconds) = self.retry_after {
            response = response.header(header::RETRY_AFTER, seconds);
        }
        Ok(response.body(body.into())?)
    }
}

/// The request as it goes over the wire.
pub(super) fn request_bytes(request: &Request<Bytes>) -> Result<Vec<u8>, HttpError> {
    let uri = request.uri();
    let host = uri.authority().ok_or("the endpoint has no host")?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut message = Vec::with_capacity(512 + request.body().len());
    write!(message, "{} {path} HTTP/1.1\r\nhost: {host}\r\n", request.method())?;
    for (name, value) in request.headers() {
        if [header::HOST, header::CONTENT_LENGTH].contains(name) {
            continue;
        }
        write!(message, "{name}: ")?;
        message.extend_from_slice(value.as_bytes());
        message.extend_from_slice(b"\r\n");
    }
    write!(message, "content-length: {}\r\n\r\n", request.body().len())?;
    message.extend_from_slice(request.body());
    Ok(message)
}

/// Reads an answer's head, past any `100 Continue`, and returns what of the body came with it.
pub(super) fn read_head(stream: &mut impl Read) -> Result<(Head, Vec<u8>), ResponseError> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        while let Some((head, used)) = parse_head(&bytes)? {
            bytes.drain(..used);
            if !(100..200).contains(&head.status) {
                return Ok((head, bytes));
            }
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(ResponseError::TooLarge { limit: HEAD_BYTES_MAX });
        }
        let read = stream.read(&mut chunk);
        match read {
            Ok(0) if bytes.is_empty() => {
                return Err(ResponseError::Stale(io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(0) => return Err(ResponseError::ClosedEarly),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if bytes.is_empty() => return Err(ResponseError::Stale(error)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A whole head and its length, if there is one yet.
fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, ResponseError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    let malformed = |source| ResponseError::Malformed(Some(source));
    let used = match parsed.parse(bytes).map_err(malformed)? {
        httparse::Status::Complete(used) => used,
        httparse::Status::Partial => return Ok(None),
    };
    let status = parsed.code.ok_or(ResponseError::Malformed(None))?;
    let find = |name: &str| {
        let header = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.map(|header| header.value)
    };
    let says = |name: &str, word: &[u8]| {
        let words = |value: &[u8]| {
            value.split(|byte| *byte == b',').any(|w| w.trim_ascii().eq_ignore_ascii_case(word))
        };
        find(name).is_some_and(words)
    };
    let length = if status < 200 || status == 204 || status == 304 {
        Length::Known(0)
    } else if says("transfer-encoding", b"chunked") {
        Length::Chunked
    } else {
        match find("content-length") {
            Some(text) => Length::Known(number(text, 10).ok_or(ResponseError::Malformed(None))?),
            None => Length::UntilClosed,
        }
    };
    let keep_alive =
        parsed.version == Some(1) && !says("connection", b"close") && length != Length::UntilClosed;
    let retry_after = find("retry-after").map(<[u8]>::to_vec);
    Ok(Some((Head { length, keep_alive, status, retry_after }, used)))
}

/// Replaces a chunked body by what it says, if all of it is there.
pub(super) fn dechunk(body: &mut Vec<u8>) -> Result<bool, ResponseError> {
    let mut plain = Vec::new();
    let mut rest = &body[..];
    loop {
        let Some((line, after)) = split_line(rest) else { return Ok(false) };
        let digits = line.split(|byte| *byte == b';').next().unwrap_or(line).trim_ascii();
        let length = number(digits, 16).ok_or(ResponseError::Malformed(None))?;
        if length == 0 {
            // Trailers, which say nothing to us, end with an empty line.
            let mut rest = after;
            loop {
                match split_line(rest) {
                    None => return Ok(false),
                    Some(([], _)) => break,
                    Some((_, after)) => rest = after,
                }
            }
            *body = plain;
            return Ok(true);
        }
        let Some((data, after)) = after.split_at_checked(length) else { return Ok(false) };
        plain.extend_from_slice(data);
        rest = match after {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Ok(false),
            _ => return Err(ResponseError::Malformed(None)),
        };
    }
}

/// A `Retry-After`: seconds, or the time of day when to come again.
fn wait(value: &[u8], now: SystemTime) -> Option<Duration> {
    let value = value.trim_ascii();
    if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
        // More seconds than a number holds are as good as for ever.
        let seconds = number(value, 10).map_or(u64::MAX, |seconds| seconds as u64);
        return Some(Duration::from_secs(seconds));
    }
    let until = http_date(std::str::from_utf8(value).ok()?)?;
    Some(until.duration_since(now).unwrap_or_default())
}

/// A date as HTTP writes it now (RFC 9110, "IMF-fixdate"): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let words: Vec<&str> = text.split(' ').collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { return None };
    let place = MONTHS.find(month).filter(|place| month.len() == 3 && place.is_multiple_of(3))?;
    let within = |text: &str, range: std::ops::RangeInclusive<usize>| {
        number(text.as_bytes(), 10).filter(|value| range.contains(value)).map(|value| value as u64)
    };
    let times: Vec<&str> = time.split(':').collect();
    let [hour, minute, second] = times[..] else { return None };
    let (day, year) = (within(day, 1..=31)?, within(year, 1970..=9999)?);
    let (hour, minute) = (within(hour, 0..=23)?, within(minute, 0..=59)?);
    let second = within(second, 0..=60)?;
    // Years that begin in March have their leap day last, so that months need no table.
    let month = place as u64 / 3;
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days_of_months = (153 * month + 2) / 5 + day - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + days_of_months;
    let days = days.checked_sub(719_468)?; // from year 0 to 1970
    UNIX_EPOCH.checked_add(Duration::from_secs(days * 86_400 + hour * 3_600 + minute * 60 + second))
}

/// Of an `ExportTraceServiceResponse`: how many spans were rejected, and why. `None`: it is none.
fn partial_success(body: &[u8]) -> Option<(u64, String)> {
    let (mut rejected, mut message) = (0, String::new());
    for field in Fields(body) {
        let Field::Bytes(1, partial) = field? else { continue };
        for field in Fields(partial) {
            match field? {
                // Signed; below zero it says nothing.
                Field::Number(1, spans) => rejected = u64::try_from(spans as i64).unwrap_or(0),
                Field::Bytes(2, text) => {
                    let text = String::from_utf8_lossy(text);
                    message = text.chars().take(MESSAGE_CHARS_MAX).collect();
                }
                _ => {}
            }
        }
    }
    Some((rejected, message))
}

/// A field of a protobuf message, with its number.
enum Field<'b> {
    Number(u64, u64),
    Bytes(u64, &'b [u8]),
}

/// The fields of a protobuf message in their order; `None` for what is none, and then no more.
struct Fields<'b>(&'b [u8]);

impl<'b> Iterator for Fields<'b> {
    type Item = Option<Field<'b>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'b> Fields<'b> {
    fn field(&mut self) -> Option<Field<'b>> {
        let tag = self.varint()?;
        let number = tag >> 3;
        match tag & 7 {
            0 => Some(Field::Number(number, self.varint()?)),
            1 => Some(Field::Bytes(number, self.take(8)?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Some(Field::Bytes(number, self.take(length)?))
            }
            5 => Some(Field::Bytes(number, self.take(4)?)),
            _ => None,
        }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, bytes: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

/// A number of digits alone: no sign, no space.
fn number(digits: &[u8], radix: u32) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok()?;
    let digits_only = text.bytes().all(|byte| char::from(byte).is_digit(radix));
    digits_only.then(|| usize::from_str_radix(text, radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(text: &str) -> Result<(Head, Vec<u8>), ResponseError> {
        read_head(&mut text.as_bytes())
    }

    #[test]
    fn a_head_tells_status_length_and_whether_the_connection_stays() {
        for (text, status, length, keep_alive) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, Length::Known(3), true),
            (
                "HTTP/1.1 503 x\r\nConnection: Close\r\nContent-length: 0\r\n\r\n",
                503,
                Length::Known(0),
                false,
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200, Length::Known(0), false),
            ("HTTP/1.1 200 OK\r\n\r\n", 200, Length::UntilClosed, false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, Length::Chunked, true),
            ("HTTP/1.1 204 No\r\n\r\n", 204, Length::Known(0), true),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n", 204, Length::Known(0), true),
        ] {
            let (head, _) = head(text).unwrap();
            assert_eq!((head.status, head.length, head.keep_alive), (status, length, keep_alive));
        }
        let (throttled, _) = head("HTTP/1.1 429 x\r\nretry-after: 7\r\n\r\n").unwrap();
        let response = throttled.into_response(Vec::new()).unwrap();
        assert_eq!(
            (response.status().as_u16(), response.headers()["retry-after"].as_bytes()),
            (429, &b"7"[..])
        );
    }

    #[test]
    fn what_is_no_answer_is_a_typed_error() {
        assert!(matches!(head(""), Err(ResponseError::Stale(_))));
        assert!(matches!(head("HTTP/1.1 200 OK\r\nConte"), Err(ResponseError::ClosedEarly)));
        assert!(matches!(head("SSH-2.0-x\r\n\r\n"), Err(ResponseError::Malformed(Some(_)))));
        let negative = "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n";
        assert!(matches!(head(negative), Err(ResponseError::Malformed(None))));
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_BYTES_MAX + 4096));
        assert!(matches!(head(&endless), Err(ResponseError::TooLarge { .. })));
    }

    #[test]
    fn a_chunked_body_is_put_together_once_it_is_whole() {
        let whole = b"3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n";
        for end in 0..whole.len() {
            assert!(!dechunk(&mut whole[..end].to_vec()).unwrap(), "{end} bytes");
        }
        let mut body = whole.to_vec();
        assert!(dechunk(&mut body).unwrap());
        assert_eq!(body, b"abc0123456789");
        for broken in [&b"x\r\n"[..], b"\r\n", b"-1\r\n", b"1\r\nabc", b"ffffffffffffffffff\r\n"] {
            assert!(dechunk(&mut broken.to_vec()).is_err() || broken == b"\r\n", "{broken:?}");
        }
    }

    #[test]
    fn a_request_has_its_host_its_headers_and_its_length() {
        let request = Request::post("http://[::1]:4318/v1/traces?x=1")
            .header("content-type", "application/x-protobuf")
            .header("content-length", "999")
            .body(Bytes::from_static(b"body"))
            .unwrap();
        let text = String::from_utf8(request_bytes(&request).unwrap()).unwrap();
        let expected = "POST /v1/traces?x=1 HTTP/1.1\r\nhost: [::1]:4318\r\n\
            content-type: application/x-protobuf\r\ncontent-length: 4\r\n\r\nbody";
        assert_eq!(text, expected);
    }

    /// An answer with this status, header and body.
    fn answer(status: &str, header: &str, body: &[u8]) -> Answer {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        let (head, _) = head(&format!("HTTP/1.1 {status} x\r\n{header}\r\n\r\n")).unwrap();
        head.answer(body, now)
    }

    #[test]
    fn a_partial_success_tells_how_many_spans_were_rejected_and_why() {
        // Field 1 of the answer: field 1 a number, field 2 a text; an unknown one in either.
        let body = b"\x0a\x0b\x08\xd8\x04\x12\x04full\x18\x01\x10\x07";
        let full = answer("200", "x: y", body);
        assert_eq!((full.rejected, full.message.as_str(), full.is_success()), (600, "full", true));
        assert_eq!(answer("400", "x: y", body).rejected, 0, "refused as a whole");
        for (rejected, body) in [
            (0, &b""[..]),
            (0, b"\x0a\x00"),
            (0, b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), // -1
            (0, b"\x0a\x05\x08\xd8"),
            (0, b"{\"partialSuccess\":{}}"),
            (7, b"\x0a\x02\x08\x07"),
        ] {
            assert_eq!(answer("200", "x: y", body).rejected, rejected, "{body:?}");
        }
        let long = [b"\x0a\xab\x04\x12\xa8\x04".to_vec(), vec![b'x'; 552]].concat();
        assert_eq!(answer("200", "x: y", &long).message.len(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn a_retry_after_is_read_as_seconds_and_as_a_date() {
        let wait = |value: &str| answer("503", &format!("Retry-After: {value}"), b"").retry_after;
        assert_eq!(wait("86400"), Some(Duration::from_secs(86_400)));
        assert_eq!(wait("99999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        // 7 seconds from the time that these tests take for now; and long before it.
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        let leap = wait("Tue, 29 Feb 2000 00:00:00 GMT").unwrap().as_secs() + 784_111_770;
        assert_eq!(leap, 951_782_400);
        for bad in ["", "-1", "soon", "Sun, 06 Nov 1994 08:49 GMT", "Sun, 06 ovD 1994 08:49:37 GMT"]
        {
            assert_eq!(wait(bad), None, "{bad}");
        }
        let retryable = [429, 500, 502, 503, 504, 400, 307]
            .map(|status: u16| answer(&status.to_string(), "x: y", b"").is_retryable());
        assert_eq!(retryable, [true, false, true, true, true, false, false]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 0..60usize,
        ) {
            let _ = read_head(&mut &bytes[..]);
            let _ = dechunk(&mut bytes.clone());
            let _ = partial_success(&bytes);
            let _ = wait(&bytes, UNIX_EPOCH);
            let mut spoiled = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".to_vec();
            spoiled.truncate(cut);
            spoiled.extend_from_slice(&bytes);
            if let Ok((_, mut body)) = read_head(&mut &spoiled[..]) {
                let _ = dechunk(&mut body);
            }
        }
    }
}
