//! Which attributes of the user's code the generated code must repeat.
//!
//! `#[cfg]`, because code for a method that is not there does not compile. The lints that were
//! allowed, because the user allowed them for the signature, and the signature is repeated. That
//! the method may be called although it is deprecated. Documentation is not repeated: rustdoc
//! takes it from the trait.

use proc_macro2::TokenStream;
use quote::quote;
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Meta, Result, Token};

/// The attributes to repeat.
#[derive(Clone, Default)]
pub(crate) struct CarriedAttributes {
    /// The conditions under which the item is there; all must hold.
    cfg: Vec<TokenStream>,
    lints: Vec<TokenStream>,
}

impl CarriedAttributes {
    /// Picks them out of `attributes`.
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut carried = Self::default();
        for attribute in attributes {
            carried.collect(&attribute.meta, &[])?;
        }
        Ok(carried)
    }

    /// `conditions` are those of the `cfg_attr`s around `meta`.
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
            // An expectation would not be met in generated code, which most lints leave alone.
            self.add_lint(tokens, conditions);
        } else if path.is_ident("cfg_attr") {
            // What does not parse here is rustc's to report.
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

    /// Whether the item may be absent.
    pub(crate) fn is_conditional(&self) -> bool {
        !self.cfg.is_empty()
    }

    /// The condition of the item as one predicate.
    pub(crate) fn condition(&self) -> TokenStream {
        let cfg = &self.cfg;
        quote!(all(#(#cfg),*))
    }

    /// The `#[cfg]`s alone.
    pub(crate) fn cfg(&self) -> TokenStream {
        let cfg = &self.cfg;
        quote!(#(#[cfg(#cfg)])*)
    }

    /// All of them.
    pub(crate) fn all(&self) -> TokenStream {
        let (cfg, lints) = (self.cfg(), &self.lints);
        quote!(#cfg #(#lints)*)
    }
}
