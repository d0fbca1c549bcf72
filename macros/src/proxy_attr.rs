//! Reads the arguments of `#[proxy(..)]`.
//!
//! The list is read key by key, here and in `lane_attr`, so that a new key is one more arm and one
//! more word in the message that lists them.

use proc_macro2::TokenStream;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Error, Ident, Path, Result, Token};

/// The arguments of `#[proxy(..)]`.
#[derive(Default)]
pub(crate) struct ProxyKeys {
    /// The method that returns the documented limits.
    pub(crate) limits: Option<Ident>,
    /// The method that returns the session.
    pub(crate) session: Option<Ident>,
    /// The method that returns where the adapter reports the broker's own count.
    pub(crate) reported: Option<Ident>,
    /// The path of the macro that forwards the methods of a decorator.
    pub(crate) delegate: Option<Path>,
    /// The name of the trait's asynchronous form, if it is to be written.
    pub(crate) asynchronous: Option<Ident>,
    /// As `delegate`, for the asynchronous form.
    pub(crate) asynchronous_delegate: Option<Path>,
}

/// All keys, as error messages list them.
const KNOWN_KEYS: &str = "`limits = METHOD`, `session = METHOD`, `reported = METHOD`, `delegate = crate::MODULE::NAME`, \
                          `asynchronous = TRAIT` and `asynchronous_delegate = crate::MODULE::NAME`";

impl ProxyKeys {
    /// Reads the arguments of `#[proxy(..)]`.
    pub(crate) fn parse(args: TokenStream) -> Result<Self> {
        let read = |input: ParseStream<'_>| {
            let mut keys = Self::default();
            while !input.is_empty() {
                let key: Ident = input.parse().map_err(|error| {
                    Error::new(error.span(), format!("#[proxy] knows {KNOWN_KEYS}"))
                })?;
                if key == "limits" {
                    parse_value(input, &key, &mut keys.limits)?;
                } else if key == "session" {
                    parse_value(input, &key, &mut keys.session)?;
                } else if key == "reported" {
                    parse_value(input, &key, &mut keys.reported)?;
                } else if key == "delegate" {
                    parse_value(input, &key, &mut keys.delegate)?;
                } else if key == "asynchronous" {
                    parse_value(input, &key, &mut keys.asynchronous)?;
                } else if key == "asynchronous_delegate" {
                    parse_value(input, &key, &mut keys.asynchronous_delegate)?;
                } else {
                    let message = format!("#[proxy] has no key `{key}`; there are {KNOWN_KEYS}");
                    return Err(Error::new(key.span(), message));
                }
                comma(input)?;
            }
            if let (Some(path), None) = (&keys.asynchronous_delegate, &keys.asynchronous) {
                let message = "this macro is for the asynchronous form: name that too, with `asynchronous = TRAIT`";
                return Err(Error::new_spanned(path, message));
            }
            Ok(keys)
        };
        read.parse2(args)
    }
}

/// Reads the value after `key`.
fn parse_value<T: Parse>(input: ParseStream<'_>, key: &Ident, value: &mut Option<T>) -> Result<()> {
    if value.is_some() {
        return Err(Error::new(key.span(), format!("`{key}` is said twice")));
    }
    if !input.peek(Token![=]) {
        let message = match &*key.to_string() {
            "delegate" | "asynchronous_delegate" => {
                format!("name the macro to write: `{key} = crate::MODULE::NAME`")
            }
            "asynchronous" => format!("name the trait to write: `{key} = TRAIT`"),
            "reported" => format!("say which method returns the reported limits: `{key} = METHOD`"),
            _ => format!("say which method tells the {key}: `{key} = METHOD`"),
        };
        return Err(Error::new(key.span(), message));
    }
    input.parse::<Token![=]>()?;
    *value = Some(input.parse()?);
    Ok(())
}

/// Reads the comma between two keys. None is needed after the last.
pub(crate) fn comma(input: ParseStream<'_>) -> Result<()> {
    if !input.is_empty() {
        input.parse::<Token![,]>()?;
    }
    Ok(())
}
