//! The few bytes of HTTP/1.1 that the OTLP client writes and reads. Heads are parsed by httparse; no byte of an answer can make it panic.

use http::{Request, Response, StatusCode, header};
use opentelemetry_http::{Bytes, HttpError};
use std::io::{self, Read, Write};

/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

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

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 0..60usize,
        ) {
            let _ = read_head(&mut &bytes[..]);
            let _ = dechunk(&mut bytes.clone());
            let mut spoiled = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".to_vec();
            spoiled.truncate(cut);
            spoiled.extend_from_slice(&bytes);
            if let Ok((_, mut body)) = read_head(&mut &spoiled[..]) {
                let _ = dechunk(&mut body);
            }
        }
    }
}
