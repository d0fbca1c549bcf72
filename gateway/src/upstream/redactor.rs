//! Overwrites secrets in an answer of which the parts come one after the other. The length stays the same.

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use secrecy::{ExposeSecret, SecretString};

/// Overwrites each secret with asterisks.
pub(crate) struct Redactor {
    secrets: Vec<SecretString>,
    /// The end of what came so far, if a secret may begin there.
    held: Bytes,
}

impl Redactor {
    pub(crate) fn new(secrets: Vec<SecretString>) -> Self {
        Self { secrets, held: Bytes::new() }
    }

    /// Takes the next part, and returns what can be shown.
    pub(crate) fn pass(&mut self, part: Bytes) -> Bytes {
        let part = match self.held.is_empty() {
            true => part,
            false => Bytes::from([&self.held[..], &part[..]].concat()),
        };
        let mut shown = self.overwrite(part);
        self.held = shown.split_off(shown.len() - self.begun(&shown));
        shown
    }

    /// Returns what is still held back, once everything has come.
    pub(crate) fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.held)
    }

    /// Returns how many bytes are held back.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Overwrites the secrets that `bytes` contain. Copies only if there are some.
    pub(crate) fn overwrite(&self, bytes: Bytes) -> Bytes {
        let secrets = self.secrets.iter().map(|secret| secret.expose_secret().as_bytes());
        secrets.filter(|secret| !secret.is_empty()).fold(bytes, |bytes, secret| {
            if memmem::find(&bytes, secret).is_none() {
                return bytes;
            }
            let mut clean = BytesMut::from(&bytes[..]);
            let mut from = 0;
            while let Some(at) = memmem::find(&clean[from..], secret) {
                let end = from + at + secret.len();
                clean[from + at..end].fill(b'*');
                from = end;
            }
            clean.freeze()
        })
    }

    /// Returns how many bytes at the end may be the beginning of a secret.
    fn begun(&self, bytes: &[u8]) -> usize {
        let begun = |secret: &SecretString| {
            let secret = secret.expose_secret().as_bytes();
            let longest = secret.len().saturating_sub(1).min(bytes.len());
            (1..=longest).rev().find(|&length| bytes.ends_with(&secret[..length]))
        };
        self.secrets.iter().filter_map(begun).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_of_asterisks_is_no_endless_work() {
        // Overwriting finds it again.
        let redactor = Redactor::new(vec!["********".into()]);
        assert_eq!(redactor.overwrite(Bytes::from_static(b"********")), "********");
    }

    proptest! {
        /// Few letters, so that secrets and their beginnings are frequent.
        #[test]
        fn a_secret_is_found_however_the_answer_is_divided(
            text in "[ab]{0,60}",
            secrets in prop::collection::vec("[ab]{3,5}", 1..3),
            parts in prop::collection::vec(0_usize..8, 0..30),
        ) {
            let secrets: Vec<SecretString> = secrets.into_iter().map(Into::into).collect();
            let mut redactor = Redactor::new(secrets.clone());
            let (mut rest, mut shown) = (Bytes::from(text.clone()), Vec::new());
            for part in parts {
                let part = rest.split_to(part.min(rest.len()));
                shown.extend_from_slice(&redactor.pass(part));
            }
            shown.extend_from_slice(&redactor.pass(rest));
            shown.extend_from_slice(&redactor.finish());
            let shown = String::from_utf8(shown).unwrap();
            prop_assert_eq!(shown.len(), text.len());
            for secret in &secrets {
                prop_assert!(!shown.contains(secret.expose_secret()), "{} {}", text, shown);
            }
            // Nothing but secrets is overwritten.
            for (at, (was, is)) in text.bytes().zip(shown.bytes()).enumerate() {
                let in_secret = secrets.iter().any(|secret| {
                    let secret = secret.expose_secret();
                    (at.saturating_sub(secret.len() - 1)..=at).any(|from| text[from..].starts_with(secret))
                });
                prop_assert!(was == is || in_secret);
            }
        }
    }
}
