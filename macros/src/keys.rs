//! Reads what stands in the brackets of `#[proxy(..)]`, `#[lane(..)]` and `#[direct]`.
//!
//! Both lists are read key by key, so that a new key is one more arm of a `match` and one more
//! word in the message that lists them.

use proc_macro2::{Span, TokenStream};
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Error, Ident, LitStr, Meta, Result, Token};

/// The builder has these methods already, or gives them to every proxy.
const SETTERS: [&str; 6] = ["limits", "clock", "observer", "build", "builder", "new"];

/// What `#[proxy(..)]` says.
#[derive(Default)]
pub(crate) struct ProxyKeys {
    /// The method that tells the documented limits.
    pub(crate) limits: Option<Ident>,
}

/// Whether a call changes something at the other end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    Write,
}

/// What `#[lane(..)]` says.
pub(crate) struct LaneKeys {
    pub(crate) name: Ident,
    pub(crate) effect: Effect,
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

impl LaneKeys {
    /// Reads `#[lane(NAME, read|write)]`.
    pub(crate) fn parse(attribute: &Attribute) -> Result<Self> {
        let whole = attribute.path().get_ident().map_or_else(Span::call_site, Ident::span);
        match &attribute.meta {
            Meta::List(list) => {
                let read = |input: ParseStream<'_>| Self::read(input, whole);
                read.parse2(list.tokens.clone())
            }
            Meta::Path(_) | Meta::NameValue(_) => {
                Err(Error::new(whole, "name the lane: #[lane(NAME, read)] or #[lane(NAME, write)]"))
            }
        }
    }

    fn read(input: ParseStream<'_>, whole: Span) -> Result<Self> {
        if input.is_empty() {
            let message = "name the lane: #[lane(NAME, read)] or #[lane(NAME, write)]";
            return Err(Error::new(whole, message));
        }
        if input.peek(LitStr) {
            return Err(input.error("the name of a lane is written without quotes"));
        }
        let name: Ident = input.parse()?;
        if input.is_empty() && effect(&name).is_some() {
            let message = format!("the name of the lane comes first: #[lane(NAME, {name})]");
            return Err(Error::new(name.span(), message));
        }
        if SETTERS.iter().any(|setter| name == setter) {
            let message = format!(
                "a lane cannot be called `{name}`: the builder has a method of that name already"
            );
            return Err(Error::new(name.span(), message));
        }
        comma(input)?;

        let mut said = None;
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            let Some(effect) = effect(&key) else {
                let message = format!(
                    "#[lane] has no key `{key}`; there are the lane's name, then `read` or `write`"
                );
                return Err(Error::new(key.span(), message));
            };
            if said.replace(effect).is_some() {
                return Err(Error::new(key.span(), "say `read` or `write` once"));
            }
            comma(input)?;
        }
        let Some(effect) = said else {
            let message = format!(
                "say what the call does: #[lane({name}, read)], or #[lane({name}, write)] if it \
                 changes something"
            );
            return Err(Error::new(name.span(), message));
        };
        Ok(Self { name, effect })
    }
}

fn effect(key: &Ident) -> Option<Effect> {
    if key == "read" {
        Some(Effect::Read)
    } else if key == "write" {
        Some(Effect::Write)
    } else {
        None
    }
}

/// The comma between two keys; none is needed after the last.
fn comma(input: ParseStream<'_>) -> Result<()> {
    if !input.is_empty() {
        input.parse::<Token![,]>()?;
    }
    Ok(())
}
