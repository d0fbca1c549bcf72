//! Recognizes keys of secrets, which must not be in a configuration file.

/// Parts of the names of secrets, in lower case and without separators.
const SECRET_NAME_PARTS: [&str; 14] = [
    "accesskey",
    "apikey",
    "appkey",
    "bearer",
    "cookie",
    "secret",
    "token",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "privatekey",
    "signingkey",
    "authorization",
];
/// Whole names of secrets, in lower case and without separators. As parts they would match other words.
const SECRET_NAMES: [&str; 8] = ["pin", "mpin", "totp", "otp", "jwt", "auth", "key", "pwd"];

/// Returns the error for an unknown key, if it has the name of a secret.
pub(super) fn secret_key_error(key: &str) -> Option<String> {
    let plain: String =
        key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let is_secret = SECRET_NAMES.contains(&plain.as_str())
        || SECRET_NAME_PARTS.iter().any(|part| plain.contains(part));
    is_secret.then(|| {
        "a secret does not belong in a file of settings, which is copied, committed and shown: give \
         it to the adapter from the environment, and take it for known to others from now on"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for key in [
            "api_key",
            "apiKey",
            "API-SECRET",
            "access_token",
            "password",
            "pin",
            "access-key",
            "pwd",
        ] {
            assert!(secret_key_error(key).is_some(), "{key}");
        }
        for key in ["lanes", "quote", "capacity", "spinning", "monkey"] {
            assert_eq!(secret_key_error(key), None, "{key}");
        }
    }
}
