//! Words that a broker may add to without asking us.
//!
//! A closed enum would turn tomorrow's order status into a failed order book. So each vocabulary
//! keeps an unknown word in `Other`, spelled as the broker spelled it, and every word survives the
//! way from text to value and back.

/// Makes an open vocabulary: an enum with the known words and `Other`.
macro_rules! open_enum {
    (
        $(#[$outer:meta])*
        pub enum $name:ident { $( $(#[$inner:meta])* $variant:ident = $word:literal ),+ $(,)? }
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$inner])* $variant, )+
            /// A word this version does not know, as the broker spelled it.
            Other(Box<str>),
        }

        impl $name {
            /// The word itself.
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$variant => $word, )+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            /// Never fails: an unknown word is kept as `Other`.
            fn from(word: &str) -> Self {
                match word {
                    $( $word => Self::$variant, )+
                    other => Self::Other(other.into()),
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                Self::from(word.as_str())
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().to_owned()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let word = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(from)?;
                Ok(Self::from(&*word))
            }
        }
    };
}

pub(crate) use open_enum;

#[cfg(test)]
mod tests {
    use super::super::OrderStatus;

    #[test]
    fn an_unknown_word_survives_the_way_there_and_back() {
        let status = OrderStatus::from("QUANTUM PENDING");
        assert_eq!(status, OrderStatus::Other("QUANTUM PENDING".into()));
        assert_eq!(status.as_str(), "QUANTUM PENDING");
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<OrderStatus>(&json).unwrap(), status);
    }

    #[test]
    fn a_known_word_is_known() {
        assert_eq!(OrderStatus::from("FILLED"), OrderStatus::Filled);
        assert_eq!(OrderStatus::Filled.to_string(), "FILLED");
    }
}
