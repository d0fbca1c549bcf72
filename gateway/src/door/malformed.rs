//! Answers to requests that cannot be read. hyper's own have no body, so they are replaced with such in the broker's form.

use bytes::Bytes;
use hyper::StatusCode;

use crate::refusal::Refusal;

/// hyper's own answers are shorter than this.
const MAX_OWN: usize = 256;

/// Returns what a client gets in place of these bytes, if they are an answer of hyper's own. Every answer of the gateway
/// and of an upstream has further headers.
pub(super) fn in_place_of(bytes: &[u8]) -> Option<Bytes> {
    if bytes.len() > MAX_OWN {
        return None;
    }
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let (line, headers) = head.split_once("\r\n")?;
    let status = line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let message = match status {
        StatusCode::BAD_REQUEST => "the request cannot be read",
        StatusCode::URI_TOO_LONG => "the address is too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the head of the request is too long",
        _ => return None,
    };
    let mut headers = headers.split("\r\n");
    let is_own = headers.all(|header| {
        header == "content-length: 0"
            || header == "connection: close"
            || header.starts_with("date: ")
    });
    is_own.then(|| Refusal::new(status, message).closing().to_bytes())
}

/// Returns the answer to a head that did not come in time.
pub(super) fn late_head() -> Bytes {
    let message = "the head of the request did not come in time";
    Refusal::new(StatusCode::REQUEST_TIMEOUT, message).closing().to_bytes()
}

#[cfg(test)]
mod tests {
    use super::in_place_of;

    #[test]
    fn only_an_answer_without_further_headers_is_replaced() {
        let own = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
                   content-length: 0\r\ndate: Mon, 30 Nov 2026 01:02:03 GMT\r\n\r\n";
        let ours = String::from_utf8(in_place_of(own.as_bytes()).unwrap().to_vec()).unwrap();
        assert!(ours.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{ours}");
        for other in [
            own.replace("date:", "x-lanekeeper-sent: yes\r\ndate:"),
            own.replace("431", "404"),
            own.replace("content-length: 0", "content-length: 1"),
            format!("{own}x"),
            "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
            String::new(),
        ] {
            assert_eq!(in_place_of(other.as_bytes()), None, "{other}");
        }
    }
}
