//! The attributes of the user's code that the generated code must repeat:
//!
//! - `#[cfg]`, because code for an absent method does not compile;
//! - allowed lints, because the user allowed them for the signature, and the signature is repeated;
//! - for a deprecated method, that it may be called.
//!
//! Documentation is not repeated, since rustdoc takes it from the trait.

use proc_macro2::TokenStream;
use quote::quote;
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Meta, Result, Token};

/// The attributes to repeat.
#[derive(Clone, Default)]
pub(crate) struct CarriedAttributes {
    /// The conditions under which the item exists. All must hold.
    cfg: Vec<TokenStream>,
    lints: Vec<TokenStream>,
}

impl CarriedAttributes {
    /// Selects the attributes to repeat from `attributes`.
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut carried = Self::default();
        for attribute in attributes {
            carried.collect(&attribute.meta, &[])?;
        }
        Ok(carried)
    }

    /// Adds `meta` if it must be repeated. `conditions` are those of the `cfg_attr`s around it.
    fn collect(&mut self, meta: &Meta, conditions: &[TokenStream]) -> Result<()> {
        let path = meta.path();
        if !conditions.is_empty() && (path.is_ident("lane") || path.is_ident("direct")) {
            let message = "#[proxy] cannot see through `cfg_attr`: write two methods, each with \
                           its own #[cfg]";
            return Err(Error::new_spanned(path, message));
        }
        if path.is_ident("deprecated") {
            self.add_lint(&quote!(deprecated), conditions);
        }
        let Meta::List(list) = meta else { return Ok(()) };
        let tokens = &list.tokens;
        if path.is_ident("cfg") && conditions.is_empty() {
            self.cfg.push(tokens.clone());
        } else if path.is_ident("cfg") {
            self.cfg.push(quote!(any(not(all(#(#conditions),*)), #tokens)));
        } else if path.is_ident("allow") || path.is_ident("expect") {
            // An `expect` becomes an `allow`: most lints skip generated code, so the expectation would not be met.
            self.add_lint(tokens, conditions);
        } else if path.is_ident("cfg_attr") {
            // rustc reports what does not parse here.
            let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
            let Ok(parts) = list.parse_args_with(parser) else { return Ok(()) };
            let mut parts = parts.iter();
            if let Some(condition) = parts.next() {
                let mut inside = conditions.to_vec();
                inside.push(quote!(#condition));
                for part in parts {
                    self.collect(part, &inside)?;
                }
            }
        }
        Ok(())
    }

    fn add_lint(&mut self, lint: &TokenStream, conditions: &[TokenStream]) {
        self.lints.push(if conditions.is_empty() {
            quote!(#[allow(#lint)])
        } else {
            quote!(#[cfg_attr(all(#(#conditions),*), allow(#lint))])
        });
    }

    /// Returns whether the item may be absent.
    pub(crate) fn is_conditional(&self) -> bool {
        !self.cfg.is_empty()
    }

    /// Returns the condition of the item as one predicate.
    pub(crate) fn condition(&self) -> TokenStream {
        let cfg = &self.cfg;
        quote!(all(#(#cfg),*))
    }

    /// Returns only the `#[cfg]` attributes.
    pub(crate) fn cfg(&self) -> TokenStream {
        let cfg = &self.cfg;
        quote!(#(#[cfg(#cfg)])*)
    }

    /// Returns all attributes to repeat.
    pub(crate) fn all(&self) -> TokenStream {
        let (cfg, lints) = (self.cfg(), &self.lints);
        quote!(#cfg #(#lints)*)
    }
}
