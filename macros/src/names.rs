//! The lanes and the budgets that the methods of a trait name.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::Ident;
use syn::ext::IdentExt;

use crate::attributes::Carried;
use crate::errors::Errors;
use crate::method::{Kind, Method};

/// A lane or a budget.
pub(crate) struct Named {
    pub(crate) name: Ident,
    /// Its place in the list of its kind, as a variant of an enum: so the compiler counts, and
    /// counts right when a `#[cfg]` takes one away.
    variant: Ident,
    /// Empty if one of the methods that name it is there in any case.
    pub(crate) cfg: TokenStream,
}

impl Named {
    /// The name of its setter. Not used is not the user's fault, so lints should see the macro.
    pub(crate) fn setter(&self) -> Ident {
        let mut name = self.name.clone();
        name.set_span(Span::call_site().located_at(name.span()));
        name
    }
}

/// All lanes, or all budgets, in the order in which the trait first names them.
pub(crate) struct Names {
    /// The enum that numbers them.
    index: Ident,
    all: Vec<Named>,
}

impl Names {
    /// The lanes, numbered by an enum called `index`.
    pub(crate) fn of_lanes(index: &str, methods: &[Method]) -> Self {
        let uses = methods.iter().filter_map(|method| match &method.kind {
            Kind::Lane(keys) => Some((&keys.name, &method.carried)),
            _ => None,
        });
        Self::collect(index, uses)
    }

    /// The budgets.
    pub(crate) fn of_budgets(index: &str, methods: &[Method]) -> Self {
        let uses = methods.iter().flat_map(|method| {
            let budgets = match &method.kind {
                Kind::Lane(keys) => keys.budgets.as_slice(),
                _ => &[],
            };
            budgets.iter().map(|budget| (budget, &method.carried))
        });
        Self::collect(index, uses)
    }

    fn collect<'a>(index: &str, uses: impl Iterator<Item = (&'a Ident, &'a Carried)>) -> Self {
        let mut found: Vec<(&Ident, Vec<&Carried>)> = Vec::new();
        for (name, carried) in uses {
            match found.iter_mut().find(|(known, _)| *known == name) {
                Some((_, users)) => users.push(carried),
                None => found.push((name, vec![carried])),
            }
        }
        let named = |(index, (name, users)): (usize, (&Ident, Vec<&Carried>))| {
            let cfg = if users.iter().all(|carried| carried.is_conditional()) {
                let conditions = users.iter().map(|carried| carried.condition());
                quote!(#[cfg(any(#(#conditions),*))])
            } else {
                TokenStream::new()
            };
            Named { name: name.clone(), variant: format_ident!("N{index}"), cfg }
        };
        let all = found.into_iter().enumerate().map(named).collect();
        Self { index: format_ident!("{index}"), all }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Named> {
        self.all.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The enum that numbers them.
    pub(crate) fn index(&self) -> TokenStream {
        let index = &self.index;
        let variants = self.all.iter().map(|Named { variant, cfg, .. }| quote!(#cfg #variant));
        quote!(enum #index { #(#variants,)* })
    }

    /// The place of `name` in the list, as an expression.
    pub(crate) fn place(&self, name: &Ident) -> TokenStream {
        let index = &self.index;
        let variant = self.all.iter().find(|named| named.name == *name).map(|named| &named.variant);
        quote!(#index::#variant as ::core::primitive::usize)
    }

    /// The names, as the elements of an array.
    pub(crate) fn list(&self) -> TokenStream {
        let names = self.all.iter().map(|named| {
            let (cfg, name) = (&named.cfg, named.name.unraw().to_string());
            quote!(#cfg #name)
        });
        quote!(#(#names),*)
    }
}

/// Lanes and budgets have their setters in one place.
pub(crate) fn check_apart(lanes: &Names, budgets: &Names, errors: &mut Errors) {
    for Named { name, .. } in budgets.iter() {
        if lanes.iter().any(|lane| lane.name == *name) {
            let message = format!(
                "a budget cannot be called `{name}`: a lane has that name, and the builder has \
                 one setter for each"
            );
            errors.at(name.span(), message);
        }
    }
}
