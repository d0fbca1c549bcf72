//! Collects the errors in a trait, so that all are reported at once.

use proc_macro2::Span;
use syn::{Error, Item};

/// The errors so far.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    /// Adds an error at `span`.
    pub(crate) fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.add(Error::new(span, message));
    }

    /// Adds an error.
    pub(crate) fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// Returns the value of `result`, or adds its error.
    pub(crate) fn ok<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    /// Returns `value`, or all errors combined if there are any.
    pub(crate) fn finish<T>(self, value: T) -> syn::Result<T> {
        match self.0 {
            Some(errors) => Err(errors),
            None => Ok(value),
        }
    }
}

/// Returns the error for the attribute on anything but a trait. It points at the item's name, because
/// the whole item would underline many lines.
pub(crate) fn not_a_trait(item: &Item) -> Error {
    let span = match item {
        Item::Struct(item) => item.ident.span(),
        Item::Enum(item) => item.ident.span(),
        Item::Union(item) => item.ident.span(),
        Item::Type(item) => item.ident.span(),
        Item::Mod(item) => item.ident.span(),
        Item::Fn(item) => item.sig.ident.span(),
        Item::Impl(item) => item.impl_token.span,
        _ => Span::call_site(),
    };
    Error::new(span, "#[proxy] makes a proxy of a trait: put it on the `trait`")
}
