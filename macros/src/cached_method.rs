//! Writes the body of a method with `cache`, and what the builder and the proxy have for its answers.
//!
//! Only the library knows whether its feature `responses` is on: a build may enable a feature of this crate for another
//! target. So what depends on the feature is written in both forms, and `lanekeeper::__with_responses!` selects one.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::argument::Argument;
use crate::cache_attr::CacheKey;
use crate::lane_attr::LaneKeys;
use crate::lane_method::{call_spec, failure_of};
use crate::method::{Method, MethodKind};
use crate::model::Model;

/// Returns the body of a method of the trait. Without the feature that is `plain`, and an error if the answers are to be
/// kept.
pub(crate) fn body(
    model: &Model,
    (method, keys): (&Method, &LaneKeys),
    cache: &CacheKey,
    proxy: &TokenStream,
    plain: &TokenStream,
) -> TokenStream {
    let cached = cached_body(model, (method, keys), proxy);
    let error = cache.ttl.map(|_| feature_error(cache));
    quote!({ ::lanekeeper::__with_responses!({ #cached } { { #error #plain } }) })
}

/// Returns the body of an asynchronous method of the trait, an async block, as [`body`].
pub(crate) fn future_body(
    model: &Model,
    (method, keys): (&Method, &LaneKeys),
    cache: &CacheKey,
    plain: &TokenStream,
) -> TokenStream {
    let cached = cached_body(model, (method, keys), &method.self_token.to_token_stream());
    let error = cache.ttl.map(|_| feature_error(cache));
    quote!(::lanekeeper::__with_responses!({ async move #cached } { { #error #plain } }))
}

fn feature_error(cache: &CacheKey) -> TokenStream {
    let span = cache.span;
    quote_spanned! {span=>
        ::core::compile_error!(
            "`cache` needs the feature `responses` of lanekeeper; `cache = off` does not"
        );
    }
}

/// Returns the body of a method with the feature: a lookup, and on a miss a fetch through the lane.
fn cached_body(
    model: &Model,
    (method, keys): (&Method, &LaneKeys),
    proxy: &TokenStream,
) -> TokenStream {
    let (inner, path, name) = (&model.inner, model.path(), &method.name);
    let label = name.unraw().to_string();
    let Some(answer) = &method.answer else { return TokenStream::new() };
    let span = Span::call_site().located_at(method.return_span);
    let local = |name: &str| syn::Ident::new(name, Span::mixed_site());
    let (call, target, arguments) =
        (local("__lk_call"), local("__lk_inner"), local("__lk_arguments"));
    let keep = local("__lk_keep_for");
    let (packed, spec) =
        (method.arguments.iter().map(Argument::pack), call_spec(model, method, keys));
    let checks = checks(method, answer);
    // What the call needs first borrows an argument after it was moved.
    let is_lent_later = keys.first.is_some() || method.future.is_some();
    let owned = method.arguments.iter().map(|argument| argument.owned_value(is_lent_later));
    let keep_for = match &keys.cache_for {
        None => quote!(::core::option::Option::Some(::core::time::Duration::MAX)),
        Some(hook) => {
            let lent = method.arguments.iter().map(Argument::lend);
            quote! {
                if ::lanekeeper::proxy::Lanes::caches(&#proxy.lanes, #label) {
                    #proxy.#hook(#(#lent),*)
                } else {
                    ::core::option::Option::None
                }
            }
        }
    };
    let first = match (&keys.first, method.future) {
        (None, None) => {
            quote!(::core::option::Option::None::<::lanekeeper::proxy::NoPrerequisite>)
        }
        (None, Some(_)) => {
            quote!(::core::future::ready(::core::result::Result::Ok(())))
        }
        (Some(first), _) => {
            let lent = method.arguments.iter().map(Argument::lend);
            quote!(#proxy.#first(#(#lent),*))
        }
    };
    let names: Vec<_> = method.arguments.iter().map(Argument::owned_name).collect();
    let unpack_all = match names.is_empty() {
        true => quote!(let _ = #arguments;),
        false => quote!(let (#(#names,)*) = ::core::clone::Clone::clone(#arguments);),
    };
    let lend_all = match names.is_empty() {
        true => quote!(let _ = #arguments;),
        false => quote!(let (#(#names,)*) = #arguments;),
    };
    let unpacked = method.arguments.iter().map(|argument| argument.unpack(false));
    let passed = method.arguments.iter().map(|argument| argument.pass(true));
    let failure = failure_of(span);
    let (value, heaps) = (local("__lk_value"), local("__lk_heaps"));
    let measure = quote_spanned! {span=>
        |#arguments, #value| {
            // If a type does not implement `CacheableResponse`, the compiler falls back to the second trait.
            use ::lanekeeper::proxy::{CacheableResponse as _, UnmeasuredResponse as _};
            let #value = ::lanekeeper::proxy::ResponseProbe(#value);
            #lend_all
            let #heaps = [
                (&#value).heap_bytes(),
                #((&::lanekeeper::proxy::ResponseProbe(#names)).heap_bytes(),)*
            ];
            (
                #heaps.into_iter().fold(0, ::core::primitive::usize::saturating_add),
                (&#value).is_cacheable(),
            )
        }
    };
    let fetch = match method.future {
        None => quote_spanned! {span=>
            let #target = ::std::sync::Arc::clone(&#proxy.inner);
            ::lanekeeper::proxy::CachedCall::fetch(
                #call,
                #first,
                move |#arguments| {
                    #unpack_all
                    <#inner as #path>::#name(&#target #(, #unpacked)*)
                },
                #failure,
                #measure,
            )
        },
        // The task itself makes the call, so its own arguments are at hand.
        Some(_) => quote_spanned! {span=>
            ::lanekeeper::proxy::CachedCall::run(
                #call,
                #first,
                || <#inner as #path>::#name(&#proxy.inner #(, #passed)*),
                #failure,
                #measure,
            )
            .await
        },
    };
    quote!({
        #checks
        let #keep: ::core::option::Option<::core::time::Duration> = #keep_for;
        #(#packed)*
        let #call = ::lanekeeper::proxy::Lanes::cached_call::<_, #answer>(
            &#proxy.lanes,
            #spec,
            &#proxy.options,
            #keep,
            (#(#owned,)*),
        );
        if let ::core::option::Option::Some(answer) = ::lanekeeper::proxy::CachedCall::get(&#call) {
            return ::core::result::Result::Ok(answer);
        }
        #fetch
    })
}

/// Returns statements that do not compile if an argument or the answer cannot be kept. The error is at its type.
fn checks(method: &Method, answer: &syn::Type) -> TokenStream {
    let arguments = method.arguments.iter().map(|argument| {
        let (owned, cfg) = (argument.owned_type(), argument.attributes.cfg());
        let span = Span::call_site().located_at(argument.ty.span());
        quote_spanned!(span=> #cfg __lk_argument::<#owned>();)
    });
    let span = Span::call_site().located_at(method.return_span);
    let parts = quote!(<#answer as ::lanekeeper::proxy::ResultParts>);
    let answers = quote_spanned! {span=>
        __lk_answer::<#parts::Value>();
        __lk_answer::<#parts::Error>();
    };
    quote! {
        fn __lk_argument<A: ::lanekeeper::proxy::CacheArgument>() {}
        fn __lk_answer<A: ::lanekeeper::proxy::Cacheable>() {}
        #(#arguments)*
        #answers
    }
}

fn cached_methods(model: &Model) -> impl Iterator<Item = (&Method, &CacheKey)> {
    let cached = |method: &&Method| match &method.kind {
        MethodKind::Lane(keys) => keys.cache.is_some(),
        MethodKind::Direct | MethodKind::Provided => false,
    };
    model.methods.iter().filter(cached).filter_map(|method| match &method.kind {
        MethodKind::Lane(keys) => Some((method, keys.cache.as_ref()?)),
        MethodKind::Direct | MethodKind::Provided => None,
    })
}

/// Returns `builder`, an expression for the builder of the lanes, with the methods named to it.
pub(crate) fn declared_methods(model: &Model, builder: &TokenStream) -> TokenStream {
    let methods = cached_methods(model).map(|(method, cache)| {
        let (name, cfg) = (method.name.unraw().to_string(), method.attributes.cfg());
        let ttl = match cache.ttl {
            Some(nanos) => quote! {
                ::core::option::Option::Some(::core::time::Duration::from_nanos(#nanos))
            },
            None => quote!(::core::option::Option::None),
        };
        quote!(#cfg (#name, #ttl))
    });
    let methods: Vec<_> = methods.collect();
    if methods.is_empty() {
        return builder.clone();
    }
    quote!(::lanekeeper::__with_responses!(
        { #builder.cached_methods(&[#(#methods),*]) }
        { #builder }
    ))
}

/// Returns the setters of the builder and the method `responses` of the proxy, if any method has `cache`.
pub(crate) fn methods(model: &Model) -> Option<TokenStream> {
    let Model { visibility, proxy, builder, inner, .. } = model;
    cached_methods(model).next()?;
    let attributes = model.attributes.all();
    Some(quote! {
        ::lanekeeper::__with_responses! { {
        #attributes
        #[automatically_derived]
        impl<#inner> #builder<#inner> {
            /// Sets for how long the answers of a method with `cache` are kept, counted from when its request is
            /// sent. Zero is not at all.
            #visibility fn response_ttl(mut self, method: &str, ttl: ::core::time::Duration) -> Self {
                self.lanes.response_ttl(method, ttl);
                self
            }

            /// Sets how much memory the kept answers of all methods together may take, in bytes. 64 MiB by default.
            #visibility fn response_capacity(mut self, bytes: u64) -> Self {
                self.lanes.response_capacity(bytes);
                self
            }
        }

        #attributes
        #[automatically_derived]
        impl<#inner> #proxy<#inner> {
            /// Returns the kept answers of the methods with `cache`, for example to forget them. All clones of the
            /// proxy share them.
            #[must_use]
            #visibility fn responses(&self) -> &::lanekeeper::proxy::ResponseCache {
                self.lanes.responses()
            }
        }
        } {} }
    })
}
