//! Keys of clients, and the hashes by which the configuration knows them.
//!
//! A key is 256 random bits, so there is nothing to guess, and a fast hash is as good as a slow one. The salt keeps equal
//! keys from having equal hashes, and a table of hashes from being of use. A key is compared by its hash, in constant
//! time.

use std::fmt;

use hmac_sha256::Hash;
use subtle::ConstantTimeEq;

/// The name of the hash function, in the text of a hash.
const SCHEME: &str = "sha256";

/// The salted hash of a key: `sha256:SALT:HASH`, both in hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyHash {
    salt: [u8; 16],
    hash: [u8; 32],
}

/// The text is not the hash of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not the hash of a key: `lanekeeper key new NAME` makes one, as {SCHEME}:SALT:HASH"
)]
pub struct ParseKeyHashError;

/// A new key, and its hash.
///
/// ```
/// use lanekeeper_gateway::auth::{KeyHash, NewKey};
///
/// let key = NewKey::generate()?;
/// let hash: KeyHash = key.hash.to_string().parse()?;
/// assert!(hash.matches(&key.secret));
/// assert!(!hash.matches("another"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct NewKey {
    /// The secret: 64 hexadecimal digits. It is nowhere else, so show it once.
    pub secret: String,
    /// Its hash, for the configuration.
    pub hash: KeyHash,
}

impl NewKey {
    /// Makes a key of random bytes of the operating system.
    ///
    /// # Errors
    /// The operating system has no random bytes.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        let secret = hex(&secret);
        let mut salt = [0; 16];
        getrandom::fill(&mut salt)?;
        let hash = KeyHash { salt, hash: digest(&salt, &secret) };
        Ok(Self { secret, hash })
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl KeyHash {
    /// Returns whether this is the hash of `secret`. Takes the same time for every secret of one length.
    pub fn matches(&self, secret: &str) -> bool {
        digest(&self.salt, secret).ct_eq(&self.hash).into()
    }

    /// Returns a hash that no known key has, so that an unknown name takes as long as a wrong key.
    pub(crate) const fn of_nothing() -> Self {
        Self { salt: [0; 16], hash: [0; 32] }
    }
}

impl std::str::FromStr for KeyHash {
    type Err = ParseKeyHashError;

    fn from_str(text: &str) -> Result<Self, ParseKeyHashError> {
        let mut parts = text.split(':');
        let (Some(SCHEME), Some(salt), Some(hash), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ParseKeyHashError);
        };
        Ok(Self { salt: unhex(salt)?, hash: unhex(hash)? })
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}:{}:{}", hex(&self.salt), hex(&self.hash))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn digest(salt: &[u8], secret: &str) -> [u8; 32] {
    let mut hash = Hash::new();
    hash.update(salt);
    hash.update(secret);
    hash.finalize()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Result<[u8; N], ParseKeyHashError> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() == 2 * N).ok_or(ParseKeyHashError)?;
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| pair.iter().fold(0, |sum, digit| sum * 16 + digit)).collect();
    bytes.try_into().map_err(|_| ParseKeyHashError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_matches_its_own_hash_only() {
        let (one, other) = (NewKey::generate().unwrap(), NewKey::generate().unwrap());
        assert_eq!(one.secret.len(), 64);
        assert!(one.hash.matches(&one.secret) && other.hash.matches(&other.secret));
        assert!(!one.hash.matches(&other.secret) && !one.hash.matches(""));
        assert!(!KeyHash::of_nothing().matches(&one.secret));
        assert!(!format!("{one:?}").contains(&one.secret));
    }

    #[test]
    fn the_hash_is_salted() {
        let salted = |byte| digest(&[byte; 16], "secret");
        assert_ne!(salted(1), salted(2));
        // Of the salt and the secret together, in this order, as other tools compute it.
        let expected = Hash::hash(&[&[1_u8; 16][..], b"secret"].concat());
        assert_eq!(salted(1), expected);
    }

    #[test]
    fn what_is_not_a_hash_is_refused() {
        let good = NewKey::generate().unwrap().hash.to_string();
        assert_eq!(good.parse::<KeyHash>().unwrap().to_string(), good);
        for text in [
            "".to_owned(),
            "secret".to_owned(),
            good.replace("sha256", "md5"),
            good.replacen(':', "", 1),
            format!("{good}:"),
            format!("{good}0"),
            good.chars().take(good.len() - 2).collect(),
            "sha256:zz:zz".to_owned(),
        ] {
            assert!(text.parse::<KeyHash>().is_err(), "{text}");
        }
    }
}
