//! The hash of a key.
//!
//! A lookup takes some 200 ns, of which the hash of the standard library would take a tenth. The keys are the arguments
//! of the program's own calls, so a hash with a secret start is enough against a bad distribution: each step multiplies
//! to 128 bits and folds the halves.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

/// Differs from process to process.
static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0_u64));

/// An odd number with about as many ones as zeros.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hashes the method and the arguments of a call.
pub(super) struct KeyHasher {
    state: u64,
    factor: u64,
}

impl KeyHasher {
    pub(super) fn new() -> Self {
        let seed = *SEED;
        Self { state: seed, factor: FACTOR ^ seed }
    }

    fn mix(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.factor);
        self.state = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        // The length separates a text from a longer one with zeros at its end.
        self.mix(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn finish(&self) -> u64 {
        let mut last = Self { ..*self };
        last.mix(FACTOR.rotate_left(32));
        last.state
    }
}

/// Takes the hash that a key has already.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KnownHash;

/// See [`KnownHash`].
pub(super) struct KnownHasher(u64);

impl BuildHasher for KnownHash {
    type Hasher = KnownHasher;

    fn build_hasher(&self) -> KnownHasher {
        KnownHasher(0)
    }
}

impl Hasher for KnownHasher {
    fn write(&mut self, bytes: &[u8]) {
        // Keys write their hash as one `u64`.
        let mut hasher = KeyHasher::new();
        hasher.write(bytes);
        self.0 ^= hasher.finish();
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::Hash;

    use super::*;

    fn hash_of(key: impl Hash) -> u64 {
        let mut hasher = KeyHasher::new();
        key.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn hashes_of_similar_keys_differ_in_their_high_and_low_bits() {
        let numbers = (0..50_000_u64).map(hash_of);
        let texts = (0..50_000).map(|number| hash_of(format!("NSE:SYMBOL{number}")));
        for hashes in [numbers.collect::<Vec<_>>(), texts.collect()] {
            for shift in [0, 48] {
                let seen: HashSet<_> = hashes.iter().map(|hash| (hash >> shift) as u16).collect();
                // Of 65536 values, random ones would leave 47 % out.
                assert!(seen.len() > 33_000, "{} of 65536", seen.len());
            }
            assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), 50_000);
        }
        assert_ne!(hash_of("ab"), hash_of("ab\0"));
        assert_ne!(hash_of(("a", "bc")), hash_of(("ab", "c")));
        assert_ne!(hash_of((1_u32, 2_u32)), hash_of((2_u32, 1_u32)));
    }
}
