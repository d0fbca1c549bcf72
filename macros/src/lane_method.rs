//! Writes the body of a method with a lane.
//!
//! A method that blocks packs its arguments and submits the call: `expand` uses that for the methods of the trait, which wait,
//! and `submit` for those that return a ticket. An asynchronous method returns a future that waits for its turn, and then polls
//! that of the inner value. Its caller's task makes the call, so its arguments stay where they are.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Ident;
use syn::ext::IdentExt;

use crate::argument::Argument;
use crate::cached_method;
use crate::future::FutureForm;
use crate::lane_attr::{Effect, LaneKeys};
use crate::method::Method;
use crate::model::Model;

/// Returns the body of a method. `how` is what is done with the call, `call` or `submit`, and `proxy` an
/// expression for the proxy that is called.
pub(crate) fn body(
    model: &Model,
    (method, keys): (&Method, &LaneKeys),
    how: &str,
    proxy: &TokenStream,
) -> TokenStream {
    let plain = plain_body(model, (method, keys), how, proxy);
    match &keys.cache {
        Some(cache) if how == "call" => {
            cached_method::body(model, (method, keys), cache, proxy, &plain)
        }
        _ => plain,
    }
}

/// Returns the body of an asynchronous method, which returns its future in `form`.
pub(crate) fn future_body(
    model: &Model,
    (method, keys): (&Method, &LaneKeys),
    form: FutureForm,
) -> TokenStream {
    let (inner, path, name, this) = (&model.inner, model.path(), &method.name, &method.self_token);
    let arguments = method.arguments.iter().map(|argument| argument.pass(keys.retries));
    let span = Span::call_site().located_at(method.return_span);
    let run = match keys.retries {
        true => Ident::new("run_spec", span),
        false => Ident::new("run_spec_once", span),
    };
    let target = quote_spanned!(Span::mixed_site()=> __lk_inner);
    let (spec, failure) = (call_spec(model, method, keys), failure_of(span));
    let call = |options: &TokenStream| {
        quote_spanned! {span=>
            ::lanekeeper::proxy::Lanes::#run(
                &#this.lanes,
                #spec,
                #options,
                move || <#inner as #path>::#name(#target #(, #arguments)*),
                #failure,
            )
        }
    };
    let plain = match &keys.first {
        None => call(&quote!(&#this.options)),
        Some(first) => {
            let lent = method.arguments.iter().map(Argument::lend);
            let options = quote_spanned!(Span::mixed_site()=> __lk_options);
            let awaited = quote_spanned!(Span::mixed_site()=> __lk_first);
            let call = call(&quote!(&#options));
            quote!(async move {
                let #awaited = ::lanekeeper::proxy::Lanes::options_after(
                    &#this.lanes,
                    #spec,
                    &#this.options,
                    #this.#first(#(#lent),*),
                );
                match #awaited.await {
                    ::core::result::Result::Ok(#options) => #call.await,
                    ::core::result::Result::Err(error) => ::core::result::Result::Err(error),
                }
            })
        }
    };
    let future = match &keys.cache {
        None => plain,
        Some(cache) => cached_method::future_body(model, (method, keys), cache, &plain),
    };
    let future = form.of(&future);
    quote!({
        let #target: &#inner = &#this.inner;
        #future
    })
}

/// Returns the body of a method whose answers are not kept.
fn plain_body(
    model: &Model,
    (method, keys): (&Method, &LaneKeys),
    how: &str,
    proxy: &TokenStream,
) -> TokenStream {
    let (inner, path, name) = (&model.inner, model.path(), &method.name);
    let (packed, unpacked) = (
        method.arguments.iter().map(Argument::pack),
        method.arguments.iter().map(|argument| argument.unpack(keys.retries)),
    );
    // A call for a ticket must not block its caller, so it waits for no other call.
    let first = keys.first.as_ref().filter(|_| how == "call");
    let how = match keys {
        _ if first.is_some() => format!("{how}_spec_after"),
        // Work that may be repeated keeps its arguments.
        LaneKeys { retries: true, .. } => format!("{how}_spec_repeatable"),
        LaneKeys { retries: false, .. } => format!("{how}_spec"),
    };
    // If the error has no `From<LaneError>`, or the answer is not `Send`, rustc points at this code. Its span is
    // that of the type that the user wrote.
    let span = Span::call_site().located_at(method.return_span);
    let how = Ident::new(&how, span);
    let target = quote_spanned!(Span::mixed_site()=> __lk_inner);
    let spec = call_spec(model, method, keys);
    let first = first.map(|first| {
        let arguments = method.arguments.iter().map(Argument::lend);
        let begun = quote!(::lanekeeper::proxy::Lanes::clock(&#proxy.lanes).now());
        quote!((#begun, #proxy.#first(#(#arguments),*)))
    });
    // Before the arguments are moved.
    let prerequisite = quote_spanned!(Span::mixed_site()=> __lk_first);
    let (first, passed_first) = match first {
        Some(first) => (quote!(let #prerequisite = #first;), quote!(#prerequisite,)),
        None => (TokenStream::new(), TokenStream::new()),
    };
    let failure = failure_of(span);
    let call = quote_spanned! {span=>
        ::lanekeeper::proxy::Lanes::#how(
            &#proxy.lanes,
            #spec,
            &#proxy.options,
            #passed_first
            move || <#inner as #path>::#name(&#target #(, #unpacked)*),
            #failure,
        )
    };
    quote!({
        let #target = ::std::sync::Arc::clone(&#proxy.inner);
        #first
        #(#packed)*
        #call
    })
}

/// Returns the function that classifies an error.
pub(crate) fn failure_of(span: Span) -> TokenStream {
    quote_spanned! {span=>
        |error| {
            // If the error type does not implement `Classify`, the compiler falls back to the second trait, which it
            // tries last.
            use ::lanekeeper::proxy::{Classified as _, Unclassified as _};
            (&::lanekeeper::proxy::ErrorProbe(error)).failure()
        }
    }
}

/// Returns the `CallSpec` of a method: everything about the call but the work itself.
pub(crate) fn call_spec(model: &Model, method: &Method, keys: &LaneKeys) -> TokenStream {
    let (lane, name) = (model.lanes.position(&keys.name), method.name.unraw().to_string());
    let effect = match keys.effect {
        Effect::Read => quote!(::lanekeeper::Effect::Read),
        Effect::Write => quote!(::lanekeeper::Effect::Write),
    };
    let LaneKeys { priority, weight, route, exit, .. } = keys;
    let budgets = keys.budgets.iter().map(|budget| model.budgets.position(budget));
    quote! {
        ::lanekeeper::proxy::CallSpec {
            lane: #lane,
            method: #name,
            effect: #effect,
            priority: #priority,
            weight: #weight,
            route: #route,
            exit: #exit,
            // `const` makes the list `'static`, which casts of enum variants are not otherwise.
            budgets: const { &[#(#budgets),*] },
        }
    }
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;
    use crate::method::MethodKind;
    use crate::model;

    #[test]
    fn the_lanes_are_told_what_the_keys_say() {
        let (_, model) = model::read(
            TokenStream::new(),
            parse_quote! {
                trait Weather {
                    #[lane(general, read)]
                    fn forecast(&self) -> Result<(), Failure>;
                    #[lane(alerts, weight = 5, budget = sms, write, exit, route = alarms, budget = day)]
                    fn send(&self) -> Result<(), Failure>;
                    #[lane(general, read, budget = day)]
                    fn r#match(&self) -> Result<(), Failure>;
                }
            },
        );
        let model = model.unwrap();
        let spec = |at: usize| {
            let method: &Method = &model.methods[at];
            let MethodKind::Lane(keys) = &method.kind else {
                panic!("{} has no lane", method.name)
            };
            call_spec(&model, method, keys).to_string()
        };
        let call =
            |parts: TokenStream| quote!(::lanekeeper::proxy::CallSpec { #parts }).to_string();

        assert_eq!(
            spec(0),
            call(quote! {
                lane: __LkLane::N0 as ::core::primitive::usize,
                method: "forecast",
                effect: ::lanekeeper::Effect::Read,
                priority: 5u8,
                weight: 1u32,
                route: "reads",
                exit: false,
                budgets: const { &[] },
            })
        );
        assert_eq!(
            spec(1),
            call(quote! {
                lane: __LkLane::N1 as ::core::primitive::usize,
                method: "send",
                effect: ::lanekeeper::Effect::Write,
                priority: 1u8,
                weight: 5u32,
                route: "alarms",
                exit: true,
                budgets: const {
                    &[
                        __LkBudget::N0 as ::core::primitive::usize,
                        __LkBudget::N1 as ::core::primitive::usize
                    ]
                },
            })
        );
        assert_eq!(
            spec(2),
            call(quote! {
                lane: __LkLane::N0 as ::core::primitive::usize,
                method: "match",
                effect: ::lanekeeper::Effect::Read,
                priority: 5u8,
                weight: 1u32,
                route: "reads",
                exit: false,
                budgets: const { &[__LkBudget::N1 as ::core::primitive::usize] },
            })
        );
        assert_eq!(model.lanes.list().to_string(), quote!("general", "alerts").to_string());
        assert_eq!(model.budgets.list().to_string(), quote!("sms", "day").to_string());
    }
}
