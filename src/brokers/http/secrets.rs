//! Secrets, and their removal from what a broker echoes.
//!
//! A faulty gateway may send the request back, including `Authorization`. Every error passes through here before it
//! is returned, so that the classification need not care.

use std::ops::Range;

use secrecy::{ExposeSecret, SecretString};

use crate::broker::{
    BrokerError, ErrorDetail, OrderId, Partial, RowProblem, SliceOutcome, SlicedOrder,
};

/// The longest message of an error. Enough for all messages of the brokers; a whole HTML page is of no use.
pub(in crate::brokers) const MAX_MESSAGE_LENGTH: usize = 400;

/// The least length of a secret, in bytes: half of the shortest that a broker issues (a Kite api_key has 16
/// characters, a Kite token 32, an Alpaca key 20 and its secret 40). A shorter value comes from a test, and to remove it would tear other words apart.
const MIN_SECRET_LENGTH: usize = 8;

/// The text that replaces a secret.
const PLACEHOLDER: &str = "[secret]";

/// The secrets of one account. Its `Debug` is that of [`SecretString`], which shows nothing.
#[derive(Debug, Clone, Default)]
pub(in crate::brokers) struct Secrets(Vec<SecretString>);

impl Secrets {
    /// Keeps the secrets that are [long enough](MIN_SECRET_LENGTH).
    pub(in crate::brokers) fn new(mut secrets: Vec<SecretString>) -> Self {
        secrets.retain(|secret| secret.expose_secret().len() >= MIN_SECRET_LENGTH);
        Self(secrets)
    }

    /// Returns the error without secrets, and with a bounded message.
    pub(in crate::brokers) fn redact(&self, error: BrokerError) -> BrokerError {
        match error {
            BrokerError::PartlyPlaced(order) => {
                BrokerError::PartlyPlaced(Box::new(self.redact_slices(*order)))
            }
            other => map_detail(other, |detail| self.redact_detail(detail)),
        }
    }

    /// Returns the order with secrets removed from the messages of its slices.
    pub(in crate::brokers) fn redact_slices(&self, mut order: SlicedOrder) -> SlicedOrder {
        map_slice_details(&mut order, |detail| self.redact_detail(detail));
        // An id that contains a secret is not an id.
        let clean = |id: &mut OrderId| *id = OrderId::new(self.redact_text(id.as_str()));
        if let Some(parent) = &mut order.parent {
            clean(parent);
        }
        for slice in &mut order.slices {
            if let SliceOutcome::Placed(id) = &mut slice.outcome {
                clean(id);
            }
        }
        order
    }

    fn redact_detail(&self, detail: ErrorDetail) -> ErrorDetail {
        ErrorDetail {
            // Secrets are removed before the cut: half a token at the cut would not be found.
            message: truncate(&self.redact_text(&detail.message)),
            code: detail.code.map(|code| truncate(&self.redact_text(&code))),
            ..detail
        }
    }

    /// Returns the answer with secrets removed from its unreadable rows.
    pub(in crate::brokers) fn redact_rows<T>(&self, mut partial: Partial<T>) -> Partial<T> {
        for problem in &mut partial.problems {
            let RowProblem { name, tag, reason: why, text, .. } = problem;
            for text in [Some(why), Some(text), name.as_mut(), tag.as_mut()].into_iter().flatten() {
                *text = truncate(&self.redact_text(text));
            }
        }
        partial
    }

    /// Returns whether `text` contains a secret.
    pub(in crate::brokers) fn appear_in(&self, text: &str) -> bool {
        !self.find(text.as_bytes()).is_empty()
    }

    /// Returns the text without secrets. Overlapping secrets are replaced as one.
    fn redact_text(&self, text: &str) -> String {
        let bytes = text.as_bytes();
        let (mut kept, mut from) = (Vec::with_capacity(bytes.len()), 0);
        for Range { start, end } in self.find(bytes) {
            kept.extend_from_slice(bytes.get(from..start).unwrap_or_default());
            kept.extend_from_slice(PLACEHOLDER.as_bytes());
            from = end;
        }
        kept.extend_from_slice(bytes.get(from..).unwrap_or_default());
        String::from_utf8_lossy(&kept).into_owned()
    }

    /// Returns the ranges of the secrets, from left to right and without overlap. All are searched for in the
    /// original text, so that a placeholder is never searched.
    fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut places: Vec<Range<usize>> = Vec::new();
        for start in 0..text.len() {
            let Some(rest) = text.get(start..) else { break };
            let spelled =
                |secret: &SecretString| encoded_length(rest, secret.expose_secret().as_bytes());
            let Some(length) = self.0.iter().filter_map(spelled).max() else { continue };
            let end = start + length;
            match places.last_mut() {
                Some(last) if start < last.end => last.end = last.end.max(end),
                _ => places.push(start..end),
            }
        }
        places
    }
}

/// Returns the same error with another detail.
pub(in crate::brokers) fn map_detail(
    error: BrokerError,
    mut change: impl FnMut(ErrorDetail) -> ErrorDetail,
) -> BrokerError {
    match error {
        BrokerError::Throttled { retry_after, detail } => {
            BrokerError::Throttled { retry_after, detail: change(detail) }
        }
        BrokerError::NotSent(detail) => BrokerError::NotSent(change(detail)),
        BrokerError::Transient(detail) => BrokerError::Transient(change(detail)),
        BrokerError::OutcomeUnknown(detail) => BrokerError::OutcomeUnknown(change(detail)),
        BrokerError::Absent(detail) => BrokerError::Absent(change(detail)),
        BrokerError::Malformed(detail) => BrokerError::Malformed(change(detail)),
        BrokerError::Unauthorized(detail) => BrokerError::Unauthorized(change(detail)),
        BrokerError::Rejected(detail) => BrokerError::Rejected(change(detail)),
        BrokerError::Fatal(detail) => BrokerError::Fatal(change(detail)),
        BrokerError::PartlyPlaced(mut order) => {
            map_slice_details(&mut order, change);
            BrokerError::PartlyPlaced(order)
        }
        quiet @ BrokerError::NoQuote { .. } => quiet,
    }
}

/// Replaces the detail of each slice.
fn map_slice_details(order: &mut SlicedOrder, mut change: impl FnMut(ErrorDetail) -> ErrorDetail) {
    for slice in &mut order.slices {
        match &mut slice.outcome {
            SliceOutcome::Rejected(detail)
            | SliceOutcome::Absent(detail)
            | SliceOutcome::Unknown(detail) => *detail = change(std::mem::take(detail)),
            SliceOutcome::Placed(_) => {}
        }
    }
}

/// Returns how many bytes `secret` takes at the beginning of `text`, in any encoding: plain, percent-encoded, or
/// JSON-escaped. `None` if it is not there.
fn encoded_length(text: &[u8], secret: &[u8]) -> Option<usize> {
    let encoded = secret
        .iter()
        .try_fold(text, |rest, &byte| strip_encoded_byte(rest, byte))
        .map(|rest| text.len() - rest.len());
    // A `%25` in the secret itself would look like an encoded `%`.
    encoded.max(text.starts_with(secret).then_some(secret.len()))
}

/// Returns the rest of `text` if it begins with an encoding of `byte`.
fn strip_encoded_byte(text: &[u8], byte: u8) -> Option<&[u8]> {
    if let Some(mut rest) = text.strip_prefix(b"%") {
        // An address within an address is encoded twice, so its `%` is `%25`.
        loop {
            if let Some(after) = strip_hex_byte(rest, byte) {
                return Some(after);
            }
            let Some(inner) = rest.strip_prefix(b"25") else { break };
            rest = inner;
        }
    }
    if let Some(rest) = text.strip_prefix(b"\\u00") {
        return strip_hex_byte(rest, byte);
    }
    match text {
        [b'\\', second, rest @ ..] if *second == byte => Some(rest),
        [b'+', rest @ ..] if byte == b' ' => Some(rest),
        [first, rest @ ..] if *first == byte => Some(rest),
        _ => None,
    }
}

/// Returns the rest of `text` if it begins with `byte` as two hexadecimal digits of either case.
fn strip_hex_byte(text: &[u8], byte: u8) -> Option<&[u8]> {
    let (digits, rest) = text.split_at_checked(2)?;
    let spelled = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (spelled == byte).then_some(rest)
}

pub(in crate::brokers) fn truncate(text: &str) -> String {
    if text.chars().count() <= MAX_MESSAGE_LENGTH {
        return text.to_owned();
    }
    text.chars().take(MAX_MESSAGE_LENGTH).chain("..".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Slice;

    #[test]
    fn a_secret_is_cut_out_of_message_and_code() {
        let secrets = Secrets::new(vec!["s3cr3t-t0ken".into(), "another-one".into()]);
        let error = BrokerError::Rejected(
            ErrorDetail::new("Authorization: token k:s3cr3t-t0ken").code("another-one"),
        );
        let clean = secrets.redact(error);
        assert_eq!(
            clean.to_string(),
            "rejected by the broker: Authorization: token k:[secret] ([secret])"
        );
        assert!(!format!("{secrets:?}").contains("s3cr3t"));
    }

    #[test]
    fn a_secret_is_cut_out_however_it_is_spelled() {
        let secrets = Secrets::new(vec!["a+b/s%t é=".into()]);
        for spelled in [
            "a+b/s%t é=",
            // As form_urlencoded has it, and as others do: in lower case, with %20, only in part.
            "a%2Bb%2Fs%25t+%C3%A9%3D",
            "a%2bb%2fs%25t%20%c3%a9%3d",
            "a+b/s%25t%20%C3%A9=",
            "%61%2Bb/s%25t%20%C3%A9%3D",
            // Twice.
            "a%252Bb%252Fs%25t%2520%25C3%25A9%253D",
            // As in JSON that could not be decoded.
            r"a+b\/s%t é=",
            r"a\u002bb\u002Fs%t é\u003d",
        ] {
            let text = format!("DELETE /x?t={spelled}&é 100%2");
            assert_eq!(secrets.redact_text(&text), "DELETE /x?t=[secret]&é 100%2", "{spelled}");
        }
        for other in ["a%2Bb%2F", "%", "%2", "a+b/s%t é", r"a\", r"\u00"] {
            assert_eq!(secrets.redact_text(other), other);
        }
    }

    #[test]
    fn a_secret_is_cut_out_of_what_is_said_of_slices() {
        let secrets = Secrets::new(vec!["s3cr3t-t0ken".into()]);
        let said = || ErrorDetail::new("token k:s3cr3t-t0ken").code("s3cr3t-t0ken");
        let id = OrderId::new("s3cr3t-t0ken");
        let slices = [Slice::rejected(said()), Slice::unknown(said()), Slice::placed(id.clone())];
        let order = SlicedOrder::new(Some(id), 3, slices);
        let clean = secrets.redact_slices(order.clone());
        let error = secrets.redact(BrokerError::PartlyPlaced(Box::new(order)));
        for text in [format!("{clean:?}"), format!("{error:?} {error}")] {
            assert!(!text.contains("s3cr3t") && text.contains("token k:[secret]"), "{text}");
        }
    }

    #[test]
    fn what_was_cut_out_is_not_searched_again() {
        let secrets = Secrets::new(vec!["sec-ret-token".into(), "[secret]".into(), "t".into()]);
        assert_eq!(secrets.redact_text("sec-ret-token: timeout"), "[secret]: timeout");
    }

    /// It would be found in words that have nothing to do with it.
    #[test]
    fn what_is_too_short_for_a_secret_is_left_alone() {
        let secrets =
            Secrets::new(vec!["t".into(), "".into(), "1234567".into(), "12345678".into()]);
        assert_eq!(secrets.redact_text("timeout 1234567 12345678"), "timeout 1234567 [secret]");
    }

    #[test]
    fn secrets_that_overlap_are_hidden_to_the_last_byte() {
        let mut names =
            ["abcd1234", "abcd1234efgh", "efgh5678xyz", "1234efgh", "<12345678>", "12345678"];
        let text = "<abcd1234efgh5678xyz> <abcd1234> <abcd%31234efgh> <12345678>";
        // Whichever is first.
        for _ in 0..names.len() {
            names.rotate_left(1);
            let secrets = Secrets::new(names.iter().map(|&name| name.into()).collect());
            assert_eq!(
                secrets.redact_text(text),
                "<[secret]> <[secret]> <[secret]> [secret]",
                "{names:?}"
            );
        }
    }

    #[test]
    fn a_secret_across_the_cut_leaves_no_half() {
        let secrets = Secrets::new(vec!["s3cr3t-t0ken".into()]);
        let long = format!("{}s3cr3t-t0ken", "x".repeat(MAX_MESSAGE_LENGTH - 3));
        let clean = secrets.redact(BrokerError::Fatal(ErrorDetail::new(long))).to_string();
        assert!(!clean.contains("s3c"), "{clean}");
    }
}
