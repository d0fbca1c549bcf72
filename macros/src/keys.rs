//! Reads what stands in the brackets of `#[proxy(..)]`.
//!
//! The list is read key by key, here and in `lane_keys`, so that a new key is one more arm and one
//! more word in the message that lists them.

use proc_macro2::TokenStream;
use syn::parse::{ParseStream, Parser};
use syn::{Error, Ident, Result, Token};

/// What `#[proxy(..)]` says.
#[derive(Default)]
pub(crate) struct ProxyKeys {
    /// The method that tells the documented limits.
    pub(crate) limits: Option<Ident>,
}

impl ProxyKeys {
    /// Reads the arguments of `#[proxy(..)]`.
    pub(crate) fn parse(args: TokenStream) -> Result<Self> {
        let read = |input: ParseStream<'_>| {
            let mut keys = Self::default();
            while !input.is_empty() {
                let key: Ident = input.parse().map_err(|error| {
                    Error::new(error.span(), "#[proxy] knows `limits = METHOD`")
                })?;
                if key != "limits" {
                    let message =
                        format!("#[proxy] has no key `{key}`; there is `limits = METHOD`");
                    return Err(Error::new(key.span(), message));
                }
                if keys.limits.is_some() {
                    return Err(Error::new(key.span(), "`limits` is said twice"));
                }
                if !input.peek(Token![=]) {
                    return Err(Error::new(
                        key.span(),
                        "say which method tells the limits: `limits = METHOD`",
                    ));
                }
                input.parse::<Token![=]>()?;
                keys.limits = Some(input.parse()?);
                comma(input)?;
            }
            Ok(keys)
        };
        read.parse2(args)
    }
}

/// The comma between two keys; none is needed after the last.
pub(crate) fn comma(input: ParseStream<'_>) -> Result<()> {
    if !input.is_empty() {
        input.parse::<Token![,]>()?;
    }
    Ok(())
}
