//! Writes the proxy.
//!
//! The generated code only calls `::lanekeeper::proxy`, which does the work, so a fix there
//! needs no new expansion. Paths are absolute, and local variables have the macro's hygiene (`mixed_site`).

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::Ident;
use syn::ext::IdentExt;

use crate::lane_attr::{Effect, LaneKeys};
use crate::method::{Method, MethodKind};
use crate::model::Model;
use crate::names::NameEntry;
use crate::pointers::{associated_types, forward};
use crate::{builder, cached_method, lane_method, submit};

/// Returns the three types and all their implementations.
pub(crate) fn proxy(model: &Model) -> TokenStream {
    let types = types(model);
    let (lanes, budgets) = (model.lanes.index_enum(), model.budgets.index_enum());
    let (own, builder) = (own_methods(model), builder::methods(model));
    let (submit, queued) = match model.has_tickets() {
        true => (submit::declaration(model), submit::implementations(model)),
        false => (TokenStream::new(), TokenStream::new()),
    };
    let (implementation, common) = (implementation(model), common_impls(model));
    let cached = cached_method::methods(model);
    let cfg = model.attributes.cfg();
    quote! {
        #types
        #submit

        // A scope of its own keeps the index enums out of the user's namespace.
        #cfg
        const _: () = {
            #lanes
            #budgets
            #own
            #builder
            #cached
            #implementation
            #common
            #queued
        };
    }
}

fn types(model: &Model) -> TokenStream {
    let Model { visibility, name, proxy, builder, inner, .. } = model;
    let attributes = model.attributes.all();
    let about = format!(
        "A paced proxy in front of a [`{name}`], made by `#[lanekeeper::proxy]`.\n\n\
         It implements [`{name}`], and is built by [`{proxy}::builder`]. It is cheap to clone. \
         Clones share the lanes."
    );
    let lanes = describe_lanes(model);
    let about_builder = format!(
        "The builder of a [`{proxy}`], returned by [`{proxy}::builder`]. A lane whose quota is not set here \
         has the documented one."
    );
    quote! {
        #[doc = #about]
        #[doc = #lanes]
        #attributes
        #visibility struct #proxy<#inner> {
            inner: ::std::sync::Arc<#inner>,
            lanes: ::lanekeeper::proxy::Lanes,
            options: ::lanekeeper::CallOptions,
        }

        #[doc = #about_builder]
        #attributes
        #[must_use = "a builder makes nothing until `build` is called"]
        #visibility struct #builder<#inner> {
            inner: #inner,
            lanes: ::lanekeeper::proxy::LanesBuilder,
        }
    }
}

/// Returns the part of the documentation that lists the lanes and budgets with their methods.
fn describe_lanes(model: &Model) -> String {
    let laned: Vec<_> = model
        .methods
        .iter()
        .filter_map(|method| match &method.kind {
            MethodKind::Lane(keys) => Some((method.name.unraw(), keys)),
            _ => None,
        })
        .collect();
    let mut words = String::from("\n# Lanes\n");
    for lane in model.lanes.iter() {
        let users = laned.iter().filter(|(_, keys)| keys.name == lane.name);
        let users: Vec<_> = users.map(|(name, keys)| describe_method(name, keys)).collect();
        words += &format!("\n- `{}`: {}", lane.name.unraw(), users.join(", "));
    }
    if model.lanes.is_empty() {
        words += "\nNone: every call goes straight through.";
    }
    if !model.budgets.is_empty() {
        words += "\n\n# Budgets\n";
    }
    for budget in model.budgets.iter() {
        let users = laned.iter().filter(|(_, keys)| keys.budgets.contains(&budget.name));
        let users: Vec<_> = users.map(|(name, _)| format!("`{name}`")).collect();
        words += &format!("\n- `{}`: {}", budget.name.unraw(), users.join(", "));
    }
    words
}

/// Describes a method of a lane. Defaults are left out.
fn describe_method(name: &Ident, keys: &LaneKeys) -> String {
    let effect = if keys.effect == Effect::Read { "read" } else { "write" };
    let mut words = format!("`{name}` ({effect}");
    if keys.exit {
        words += ", an exit";
    } else if keys.priority != LaneKeys::DEFAULT_PRIORITY {
        words += &format!(", priority {}", keys.priority);
    }
    if keys.weight != LaneKeys::DEFAULT_WEIGHT {
        words += &format!(", weight {}", keys.weight);
    }
    words + ")"
}

/// Returns the bounds on the inner value of a proxy.
pub(crate) fn bounds(model: &Model) -> TokenStream {
    let path = model.path();
    quote!(#path + ::core::marker::Send + ::core::marker::Sync + 'static)
}

/// Returns the bounds as far as the proxy's own functions can state them. For a generic trait they do not
/// know the parameters.
pub(crate) fn own_bounds(model: &Model) -> TokenStream {
    if model.generics.params.is_empty() {
        bounds(model)
    } else {
        quote!(::core::marker::Send + ::core::marker::Sync + 'static)
    }
}

fn own_methods(model: &Model) -> TokenStream {
    let Model { visibility, proxy, builder, inner, .. } = model;
    let (attributes, bounds) = (model.attributes.all(), own_bounds(model));
    let (lanes, budgets) = (model.lanes.list(), model.budgets.list());
    let submit = model.has_tickets().then(|| submit::proxy_method(model));
    let lane_getters = model.lanes.iter().map(|lane| lane_getter(model, lane));
    let proxy_name = proxy.unraw().to_string();
    let lanes_builder = quote! {
        ::lanekeeper::proxy::LanesBuilder::new(#proxy_name, &[#lanes], &[#budgets])
    };
    let lanes_builder = cached_method::declared_methods(model, &lanes_builder);
    quote! {
        #attributes
        #[automatically_derived]
        impl<#inner> #proxy<#inner> {
            /// Returns the builder of a proxy in front of `inner`.
            #visibility fn builder(inner: #inner) -> #builder<#inner>
            where
                #inner: #bounds,
            {
                #builder {
                    inner,
                    lanes: #lanes_builder,
                }
            }

            /// Returns the value behind the lanes. Calls to it are not paced.
            #[must_use]
            #visibility fn inner(&self) -> &#inner {
                &self.inner
            }

            /// Returns the lanes that the calls go through.
            #[must_use]
            #visibility fn lanes(&self) -> &::lanekeeper::proxy::Lanes {
                &self.lanes
            }

            #(#lane_getters)*

            /// Returns the same proxy with these options for each call that is made through it. The
            /// lanes and the inner value are shared.
            #[must_use = "the proxy itself keeps the options it has"]
            #visibility fn with(&self, options: ::lanekeeper::CallOptions) -> Self {
                Self {
                    inner: ::std::sync::Arc::clone(&self.inner),
                    lanes: ::core::clone::Clone::clone(&self.lanes),
                    options,
                }
            }

            #submit

            /// Returns a point-in-time snapshot of the lanes and budgets.
            #[must_use]
            #visibility fn status(&self) -> ::lanekeeper::Status {
                self.lanes.status()
            }

            /// Shuts down the lanes, for every clone of the proxy. Callers that wait are answered.
            #visibility fn shutdown(
                &self,
                how: ::lanekeeper::lane::Shutdown,
            ) -> ::lanekeeper::lane::ShutdownSummary {
                self.lanes.shutdown(how)
            }
        }
    }
}

/// Returns the method of the proxy for one lane: `quote_lane` for the lane `quote`.
fn lane_getter(model: &Model, lane: &NameEntry) -> TokenStream {
    let (visibility, cfg, index) = (&model.visibility, &lane.cfg, model.lanes.position(&lane.name));
    let getter = lane.getter();
    let about = format!(
        "Returns the lane `{}`, for example to pause it or to change its quota.",
        lane.name.unraw()
    );
    quote! {
        #cfg
        #[doc = #about]
        #[must_use]
        #visibility fn #getter(&self) -> &::lanekeeper::lane::Lane {
            self.lanes.at(#index)
        }
    }
}

fn implementation(model: &Model) -> TokenStream {
    let Model { proxy, inner, .. } = model;
    let (path, attributes, bounds) = (model.path(), model.attributes.all(), bounds(model));
    let parameters = model.parameters(&quote!(#inner: #bounds));
    let clause = &model.generics.where_clause;
    // One span for the whole type, so that rustc has one place to point at if a supertrait is not met.
    let (span, mut parameter) = (proxy.span(), inner.clone());
    parameter.set_span(span);
    let this = quote_spanned!(span=> #proxy<#parameter>);
    let types = associated_types(model);
    let methods = model.methods.iter().map(|method| match &method.kind {
        MethodKind::Lane(keys) => lane_method(model, method, keys),
        MethodKind::Direct => forward(model, method, &quote!(.inner)),
        MethodKind::Provided => TokenStream::new(),
    });
    quote! {
        #attributes
        #[automatically_derived]
        impl #parameters #path for #this #clause {
            #types
            #(#methods)*
        }
    }
}

/// Returns a method that sends the call through its lane and waits for the answer.
fn lane_method(model: &Model, method: &Method, keys: &LaneKeys) -> TokenStream {
    let Method { attributes: carried, signature, self_token, .. } = method;
    let attributes = carried.all();
    let body = match method.future {
        None => lane_method::body(model, (method, keys), "call", &quote!(#self_token)),
        Some(form) => lane_method::future_body(model, (method, keys), form),
    };
    quote!(#attributes #signature #body)
}

/// Returns `HasLanes`, `Clone` and `Debug`, which require nothing of the inner value.
fn common_impls(model: &Model) -> TokenStream {
    let Model { proxy, builder, inner, .. } = model;
    let attributes = model.attributes.all();
    let names = [proxy, builder].map(|name| name.unraw().to_string());
    let debug = [proxy, builder].into_iter().zip(&names).map(|(ty, name)| {
        quote! {
            #attributes
            #[automatically_derived]
            impl<#inner> ::core::fmt::Debug for #ty<#inner> {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    f.debug_struct(#name).field("lanes", &self.lanes).finish_non_exhaustive()
                }
            }
        }
    });
    quote! {
        #attributes
        #[automatically_derived]
        impl<#inner> ::lanekeeper::proxy::HasLanes for #proxy<#inner> {
            fn lanes(&self) -> &::lanekeeper::proxy::Lanes {
                &self.lanes
            }
        }

        #attributes
        #[automatically_derived]
        impl<#inner> ::core::clone::Clone for #proxy<#inner> {
            fn clone(&self) -> Self {
                Self {
                    inner: ::std::sync::Arc::clone(&self.inner),
                    lanes: ::core::clone::Clone::clone(&self.lanes),
                    options: ::core::clone::Clone::clone(&self.options),
                }
            }
        }

        #(#debug)*
    }
}
