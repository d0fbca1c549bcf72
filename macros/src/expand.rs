//! Writes the proxy.
//!
//! What is called is `::lanekeeper::proxy`; nothing of substance is generated, so that a fix there
//! needs no new expansion. Paths are absolute, and locals are the macro's own (`mixed_site`).

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;

use crate::builder;
use crate::forward::{associated_types, forward};
use crate::keys::{Effect, LaneKeys};
use crate::method::{Kind, Method};
use crate::model::{Lane, Model};

/// The two types and all that is implemented for them.
pub(crate) fn proxy(model: &Model) -> TokenStream {
    let types = types(model);
    let lanes = lane_index(model);
    let (own, builder) = (own_methods(model), builder::methods(model));
    let (implementation, common) = (implementation(model), common(model));
    let cfg = model.carried.cfg();
    quote! {
        #types

        // A room of its own: the index of lanes is nobody else's.
        #cfg
        const _: () = {
            #lanes
            #own
            #builder
            #implementation
            #common
        };
    }
}

fn types(model: &Model) -> TokenStream {
    let Model { visibility, name, proxy, builder, inner, .. } = model;
    let attributes = model.carried.all();
    let about = format!(
        "A paced proxy in front of a [`{name}`], made by `#[lanekeeper::proxy]`.\n\n\
         It implements [`{name}`], and starts with [`{proxy}::builder`]. It is cheap to clone: \
         clones share the lanes."
    );
    let lanes = lanes_in_words(model);
    let about_builder = format!(
        "Sets up a [`{proxy}`]; made by [`{proxy}::builder`]. A lane that is given no quota here \
         has the one that is documented."
    );
    quote! {
        #[doc = #about]
        #[doc = #lanes]
        #attributes
        #visibility struct #proxy<#inner> {
            inner: ::std::sync::Arc<#inner>,
            lanes: ::lanekeeper::proxy::Lanes,
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

/// The lanes and who is in them, for the reader of the documentation.
fn lanes_in_words(model: &Model) -> String {
    let mut words = String::from("\n# Lanes\n");
    for lane in &model.lanes {
        let users = model.methods.iter().filter_map(|method| match &method.kind {
            Kind::Lane(keys) if keys.name == lane.name => Some((method, keys.effect)),
            _ => None,
        });
        let users = users.map(|(method, effect)| {
            let kind = if effect == Effect::Read { "read" } else { "write" };
            format!("`{}` ({kind})", method.name.unraw())
        });
        let users: Vec<_> = users.collect();
        words += &format!("\n- `{}`: {}", lane.name.unraw(), users.join(", "));
    }
    if model.lanes.is_empty() {
        words += "\nNone: every call goes straight through.";
    }
    words
}

fn lane_index(model: &Model) -> TokenStream {
    let variants = model.lanes.iter().map(|Lane { variant, cfg, .. }| quote!(#cfg #variant));
    quote!(enum __LkLane { #(#variants,)* })
}

/// The bounds on what is inside a proxy.
fn bounds(model: &Model) -> TokenStream {
    let path = model.path();
    quote!(#path + ::core::marker::Send + ::core::marker::Sync + 'static)
}

/// The bounds as far as the proxy's own functions can state them: of a generic trait they do not
/// know which parameters are meant.
pub(crate) fn own_bounds(model: &Model) -> TokenStream {
    if model.generics.params.is_empty() {
        bounds(model)
    } else {
        quote!(::core::marker::Send + ::core::marker::Sync + 'static)
    }
}

fn own_methods(model: &Model) -> TokenStream {
    let Model { visibility, proxy, builder, inner, .. } = model;
    let (attributes, bounds) = (model.carried.all(), own_bounds(model));
    let names = model.lanes.iter().map(|lane| {
        let (cfg, name) = (&lane.cfg, lane.name.unraw().to_string());
        quote!(#cfg #name)
    });
    let proxy_name = proxy.unraw().to_string();
    quote! {
        #attributes
        #[automatically_derived]
        impl<#inner> #proxy<#inner> {
            /// Starts the proxy in front of `inner`.
            #visibility fn builder(inner: #inner) -> #builder<#inner>
            where
                #inner: #bounds,
            {
                #builder {
                    inner,
                    lanes: ::lanekeeper::proxy::LanesBuilder::new(#proxy_name, &[#(#names),*]),
                }
            }

            /// What is behind the lanes. Calls to it are not paced.
            #[must_use]
            #visibility fn inner(&self) -> &#inner {
                &self.inner
            }

            /// The lanes that the calls go through.
            #[must_use]
            #visibility fn lanes(&self) -> &::lanekeeper::proxy::Lanes {
                &self.lanes
            }
        }
    }
}

fn implementation(model: &Model) -> TokenStream {
    let Model { proxy, inner, .. } = model;
    let (path, attributes, bounds) = (model.path(), model.carried.all(), bounds(model));
    let parameters = model.parameters(&quote!(#inner: #bounds));
    let clause = &model.generics.where_clause;
    // Of one place, so that rustc has one to point at when a supertrait is not met.
    let (there, mut parameter) = (proxy.span(), inner.clone());
    parameter.set_span(there);
    let this = quote_spanned!(there=> #proxy<#parameter>);
    let types = associated_types(model);
    let methods = model.methods.iter().map(|method| match &method.kind {
        Kind::Lane(keys) => laned(model, method, keys),
        Kind::Direct => forward(model, method, &quote!(.inner)),
        Kind::Provided => TokenStream::new(),
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

/// A method that sends the call through its lane and waits for the answer.
fn laned(model: &Model, method: &Method, keys: &LaneKeys) -> TokenStream {
    let Method { carried, name, signature, self_token, arguments, answer, .. } = method;
    let (inner, path, attributes) = (&model.inner, model.path(), carried.all());
    let (index, method_name) = (model.lane(&keys.name), name.unraw().to_string());
    let effect = match keys.effect {
        Effect::Read => quote!(::lanekeeper::proxy::Effect::Read),
        Effect::Write => quote!(::lanekeeper::proxy::Effect::Write),
    };
    let (packed, unpacked) = (
        arguments.iter().map(crate::argument::Argument::pack),
        arguments.iter().map(crate::argument::Argument::unpack),
    );
    // If the error has no `From<LaneError>`, or the answer cannot be sent, rustc points at what is
    // written here: let that be the type that the user wrote.
    let there = Span::call_site().located_at(*answer);
    let target = quote_spanned!(Span::mixed_site()=> __lk_inner);
    let call = quote_spanned! {there=>
        ::lanekeeper::proxy::Lanes::call(
            &#self_token.lanes,
            ::lanekeeper::proxy::Call {
                lane: #index,
                method: #method_name,
                effect: #effect,
            },
            move || <#inner as #path>::#name(&#target #(, #unpacked)*),
            |error| {
                // Either the error type says whether the call left, or it says nothing: then the
                // second trait answers, which the compiler tries last.
                use ::lanekeeper::proxy::{Classified as _, Unclassified as _};
                (&::lanekeeper::proxy::Probe(error)).was_sent()
            },
        )
    };
    quote! {
        #attributes
        #signature {
            let #target = ::std::sync::Arc::clone(&#self_token.inner);
            #(#packed)*
            #call
        }
    }
}

/// `Clone` and `Debug`, which ask nothing of what is inside.
fn common(model: &Model) -> TokenStream {
    let Model { proxy, builder, inner, .. } = model;
    let attributes = model.carried.all();
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
        impl<#inner> ::core::clone::Clone for #proxy<#inner> {
            fn clone(&self) -> Self {
                Self {
                    inner: ::std::sync::Arc::clone(&self.inner),
                    lanes: ::core::clone::Clone::clone(&self.lanes),
                }
            }
        }

        #(#debug)*
    }
}
