//! Open enums, to which a broker may add values at any time.
//!
//! With a closed enum, one new order status would make the whole order book unreadable. So each open
//! enum keeps an unknown value in `Other`, spelled as the broker spelled it. Every value survives
//! the conversion from text and back.

/// Defines an open enum: the known values and `Other`.
macro_rules! open_enum {
    (
        $(#[$outer:meta])*
        pub enum $name:ident { $( $(#[$inner:meta])* $variant:ident = $value:literal ),+ $(,)? }
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$inner])* $variant, )+
            /// A value that this version does not know, as the broker spelled it.
            Other(Box<str>),
        }

        impl $name {
            /// Returns the value as the broker spells it.
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$variant => $value, )+
                    Self::Other(value) => value,
                }
            }
        }

        impl From<&str> for $name {
            /// Never fails: an unknown value becomes `Other`.
            fn from(value: &str) -> Self {
                match value {
                    $( $value => Self::$variant, )+
                    other => Self::Other(other.into()),
                }
            }
        }

        impl From<String> for $name {
            fn from(value: String) -> Self {
                Self::from(value.as_str())
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.as_str().to_owned()
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
                let value = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(from)?;
                Ok(Self::from(&*value))
            }
        }
    };
}

pub(crate) use open_enum;

#[cfg(test)]
mod tests {
    use super::super::OrderStatus;

    #[test]
    fn an_unknown_value_survives_the_way_there_and_back() {
        let status = OrderStatus::from("QUANTUM PENDING");
        assert_eq!(status, OrderStatus::Other("QUANTUM PENDING".into()));
        assert_eq!(status.as_str(), "QUANTUM PENDING");
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<OrderStatus>(&json).unwrap(), status);
    }

    #[test]
    fn a_known_value_is_known() {
        assert_eq!(OrderStatus::from("FILLED"), OrderStatus::Filled);
        assert_eq!(OrderStatus::Filled.to_string(), "FILLED");
    }
}
