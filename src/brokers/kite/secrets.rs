//! What must never be printed, and the cleaning of what a broker echoes.
//!
//! A gateway in trouble may send the request back, `Authorization` and all. Every error on its way
//! out passes through here, so that no classification needs to think of it.

use secrecy::{ExposeSecret, SecretString};

use crate::broker::{BrokerError, Detail};

/// The longest message an error carries. Enough for all of Kite's; a page of HTML is no message.
const LONGEST: usize = 400;

/// The secrets of one account. Its `Debug` is that of [`SecretString`], which shows nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Secrets(Vec<SecretString>);

impl Secrets {
    pub(super) fn new(secrets: Vec<SecretString>) -> Self {
        Self(secrets)
    }

    /// Two lists in one.
    pub(super) fn and(&self, more: &[SecretString]) -> Self {
        Self(self.0.iter().chain(more).cloned().collect())
    }

    /// The error without secrets, and no longer than a person reads.
    pub(super) fn clean(&self, error: BrokerError) -> BrokerError {
        let detail = |detail: Detail| Detail {
            // Cleaned before it is cut: half a token at the cut would not be found.
            message: shorten(&self.scrub(&detail.message)),
            status: detail.status,
            code: detail.code.map(|code| shorten(&self.scrub(&code))),
        };
        match error {
            BrokerError::Throttled { retry_after, detail: said } => {
                BrokerError::Throttled { retry_after, detail: detail(said) }
            }
            BrokerError::NotSent(said) => BrokerError::NotSent(detail(said)),
            BrokerError::Transient(said) => BrokerError::Transient(detail(said)),
            BrokerError::OutcomeUnknown(said) => BrokerError::OutcomeUnknown(detail(said)),
            BrokerError::Rejected(said) => BrokerError::Rejected(detail(said)),
            BrokerError::Fatal(said) => BrokerError::Fatal(detail(said)),
            quiet @ BrokerError::NoQuote { .. } => quiet,
        }
    }

    fn scrub(&self, text: &str) -> String {
        self.0
            .iter()
            .map(ExposeSecret::expose_secret)
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| text.replace(secret, "[secret]"))
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain("..".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_cut_out_of_message_and_code() {
        let secrets = Secrets::new(vec!["s3cr3t".into()]).and(&["other".into()]);
        let error =
            BrokerError::Rejected(Detail::new("Authorization: token k:s3cr3t").code("other"));
        let clean = secrets.clean(error);
        assert_eq!(
            clean.to_string(),
            "rejected by the broker: Authorization: token k:[secret] ([secret])"
        );
        assert!(!format!("{secrets:?}").contains("s3cr3t"));
    }

    #[test]
    fn a_secret_across_the_cut_leaves_no_half() {
        let secrets = Secrets::new(vec!["s3cr3t".into()]);
        let long = format!("{}s3cr3t", "x".repeat(LONGEST - 3));
        let clean = secrets.clean(BrokerError::Fatal(Detail::new(long))).to_string();
        assert!(!clean.contains("s3c"), "{clean}");
    }
}
