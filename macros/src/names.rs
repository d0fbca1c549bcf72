//! The names of the lanes and budgets that the methods of a trait use.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::Ident;
use syn::ext::IdentExt;

use crate::attributes::CarriedAttributes;
use crate::errors::Errors;
use crate::method::{Method, MethodKind};

/// A lane or a budget.
pub(crate) struct NameEntry {
    pub(crate) name: Ident,
    /// Its index in the list of its kind, as a variant of an enum. So the compiler counts, and
    /// counts correctly if a `#[cfg]` removes one.
    variant: Ident,
    /// The condition under which it exists. Empty if a method without a condition names it.
    pub(crate) cfg: TokenStream,
}

impl NameEntry {
    /// Returns the name of its setter. Lints see a name of the macro, since the user cannot help an unused setter.
    pub(crate) fn setter(&self) -> Ident {
        let mut name = self.name.clone();
        name.set_span(Span::call_site().located_at(name.span()));
        name
    }

    /// Returns the name of the proxy's method for this lane. Lints see a name of the macro, as for the setter.
    pub(crate) fn getter(&self) -> Ident {
        let span = Span::call_site().located_at(self.name.span());
        format_ident!("{}_lane", self.name.unraw(), span = span)
    }
}

/// All lanes, or all budgets, in the order in which the trait first names them.
pub(crate) struct NameList {
    /// The enum that numbers them.
    index_enum: Ident,
    entries: Vec<NameEntry>,
}

impl NameList {
    /// Returns the lanes, numbered by an enum called `index`.
    pub(crate) fn from_lanes(index: &str, methods: &[Method]) -> Self {
        let uses = methods.iter().filter_map(|method| match &method.kind {
            MethodKind::Lane(keys) => Some((&keys.name, &method.attributes)),
            _ => None,
        });
        Self::collect(index, uses)
    }

    /// Returns the budgets, numbered by an enum called `index`.
    pub(crate) fn from_budgets(index: &str, methods: &[Method]) -> Self {
        let uses = methods.iter().flat_map(|method| {
            let budgets = match &method.kind {
                MethodKind::Lane(keys) => keys.budgets.as_slice(),
                _ => &[],
            };
            budgets.iter().map(|budget| (budget, &method.attributes))
        });
        Self::collect(index, uses)
    }

    fn collect<'a>(
        index: &str,
        uses: impl Iterator<Item = (&'a Ident, &'a CarriedAttributes)>,
    ) -> Self {
        let mut found: Vec<(&Ident, Vec<&CarriedAttributes>)> = Vec::new();
        for (name, carried) in uses {
            match found.iter_mut().find(|(known, _)| *known == name) {
                Some((_, users)) => users.push(carried),
                None => found.push((name, vec![carried])),
            }
        }
        let named = |(index, (name, users)): (usize, (&Ident, Vec<&CarriedAttributes>))| {
            let cfg = if users.iter().all(|carried| carried.is_conditional()) {
                let conditions = users.iter().map(|carried| carried.condition());
                quote!(#[cfg(any(#(#conditions),*))])
            } else {
                TokenStream::new()
            };
            NameEntry { name: name.clone(), variant: format_ident!("N{index}"), cfg }
        };
        let all = found.into_iter().enumerate().map(named).collect();
        Self { index_enum: format_ident!("{index}"), entries: all }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &NameEntry> {
        self.entries.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the enum that numbers them.
    pub(crate) fn index_enum(&self) -> TokenStream {
        let index = &self.index_enum;
        let variants =
            self.entries.iter().map(|NameEntry { variant, cfg, .. }| quote!(#cfg #variant));
        quote!(enum #index { #(#variants,)* })
    }

    /// Returns the index of `name` in the list, as an expression.
    pub(crate) fn position(&self, name: &Ident) -> TokenStream {
        let index = &self.index_enum;
        let variant =
            self.entries.iter().find(|named| named.name == *name).map(|named| &named.variant);
        quote!(#index::#variant as ::core::primitive::usize)
    }

    /// Returns the names, as the elements of an array.
    pub(crate) fn list(&self) -> TokenStream {
        let names = self.entries.iter().map(|named| {
            let (cfg, name) = (&named.cfg, named.name.unraw().to_string());
            quote!(#cfg #name)
        });
        quote!(#(#names),*)
    }
}

/// Reports a method of the trait that the proxy's method for a lane would hide.
pub(crate) fn check_getters(lanes: &NameList, methods: &[Method], errors: &mut Errors) {
    for lane in lanes.iter() {
        let getter = lane.getter();
        if let Some(method) = methods.iter().find(|method| method.name == getter) {
            let message = format!(
                "the proxy has a function `{getter}` of its own, for its lane `{}`, which would hide this one: \
                 choose another name",
                lane.name.unraw()
            );
            errors.at(method.name.span(), message);
        }
    }
}

/// Reports a budget that has the name of a lane, since the builder has one setter for each name.
pub(crate) fn check_disjoint(lanes: &NameList, budgets: &NameList, errors: &mut Errors) {
    for NameEntry { name, .. } in budgets.iter() {
        if lanes.iter().any(|lane| lane.name == *name) {
            let message = format!(
                "a budget cannot be called `{name}`: a lane has that name, and the builder has \
                 one setter for each"
            );
            errors.at(name.span(), message);
        }
    }
}
