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
    /// The method that tells the session.
    pub(crate) session: Option<Ident>,
}

impl ProxyKeys {
    /// Reads the arguments of `#[proxy(..)]`.
    pub(crate) fn parse(args: TokenStream) -> Result<Self> {
        let read = |input: ParseStream<'_>| {
            let mut keys = Self::default();
            while !input.is_empty() {
                let key: Ident = input.parse().map_err(|error| {
                    let known = "#[proxy] knows `limits = METHOD` and `session = METHOD`";
                    Error::new(error.span(), known)
                })?;
                let method = if key == "limits" {
                    &mut keys.limits
                } else if key == "session" {
                    &mut keys.session
                } else {
                    let message = format!(
                        "#[proxy] has no key `{key}`; there are `limits = METHOD` and `session = METHOD`"
                    );
                    return Err(Error::new(key.span(), message));
                };
                if method.is_some() {
                    return Err(Error::new(key.span(), format!("`{key}` is said twice")));
                }
                if !input.peek(Token![=]) {
                    let message = format!("say which method tells the {key}: `{key} = METHOD`");
                    return Err(Error::new(key.span(), message));
                }
                input.parse::<Token![=]>()?;
                *method = Some(input.parse()?);
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
