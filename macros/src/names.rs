//! The lanes and the budgets that the methods of a trait name.

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
    /// Its place in the list of its kind, as a variant of an enum: so the compiler counts, and
    /// counts right when a `#[cfg]` takes one away.
    variant: Ident,
    /// Empty if one of the methods that name it is there in any case.
    pub(crate) cfg: TokenStream,
}

impl NameEntry {
    /// The name of its setter. Not used is not the user's fault, so lints should see the macro.
    pub(crate) fn setter(&self) -> Ident {
        let mut name = self.name.clone();
        name.set_span(Span::call_site().located_at(name.span()));
        name
    }
}

/// All lanes, or all budgets, in the order in which the trait first names them.
pub(crate) struct NameList {
    /// The enum that numbers them.
    index_enum: Ident,
    entries: Vec<NameEntry>,
}

impl NameList {
    /// The lanes, numbered by an enum called `index`.
    pub(crate) fn from_lanes(index: &str, methods: &[Method]) -> Self {
        let uses = methods.iter().filter_map(|method| match &method.kind {
            MethodKind::Lane(keys) => Some((&keys.name, &method.attributes)),
            _ => None,
        });
        Self::collect(index, uses)
    }

    /// The budgets.
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

    /// The enum that numbers them.
    pub(crate) fn index_enum(&self) -> TokenStream {
        let index = &self.index_enum;
        let variants =
            self.entries.iter().map(|NameEntry { variant, cfg, .. }| quote!(#cfg #variant));
        quote!(enum #index { #(#variants,)* })
    }

    /// The place of `name` in the list, as an expression.
    pub(crate) fn position(&self, name: &Ident) -> TokenStream {
        let index = &self.index_enum;
        let variant =
            self.entries.iter().find(|named| named.name == *name).map(|named| &named.variant);
        quote!(#index::#variant as ::core::primitive::usize)
    }

    /// The names, as the elements of an array.
    pub(crate) fn list(&self) -> TokenStream {
        let names = self.entries.iter().map(|named| {
            let (cfg, name) = (&named.cfg, named.name.unraw().to_string());
            quote!(#cfg #name)
        });
        quote!(#(#names),*)
    }
}

/// Lanes and budgets have their setters in one place.
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
