//! Writes the type whose methods queue a call and return at once.
//!
//! A method of an inherent `impl` cannot be generic over the parameters of the trait unless its
//! type has them, so this type has those that the proxy can do without.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::{GenericArgument, GenericParam, Ident, PathArguments, ReturnType, Type, parse_quote};

use crate::expand::bounds;
use crate::lane_attr::LaneKeys;
use crate::lane_method;
use crate::method::{Method, MethodKind};
use crate::model::Model;

/// Returns the declaration of the type.
pub(crate) fn declaration(model: &Model) -> TokenStream {
    let Model { visibility, name, proxy, submit, inner, .. } = model;
    let attributes = model.attributes.all();
    let about = format!(
        "The methods of [`{name}`] that queue a call and return at once. Returned by \
         [`{proxy}::submit`].\n\n\
         Each method takes the arguments of the trait's method and returns a \
         [`Ticket`](::lanekeeper::Ticket) for the answer. Methods without a lane are left \
         out."
    );
    let (parameters, clause) = (model.generics.params.iter(), where_clause(model));
    // As functions, so that the parameters do not affect `Send` and `Sync`.
    let named = model.generics.params.iter().filter_map(|parameter| match parameter {
        GenericParam::Type(parameter) => Some(&parameter.ident),
        _ => None,
    });
    let declaration = quote! {
        #[doc = #about]
        #attributes
        #visibility struct #submit<#inner #(, #parameters)*> #clause {
            proxy: #proxy<#inner>,
            of: ::core::marker::PhantomData<(#(fn(&#named),)*)>,
        }
    };
    replace_self(declaration, inner)
}

/// Returns the method of the proxy that returns the type.
pub(crate) fn proxy_method(model: &Model) -> TokenStream {
    let Model { visibility, name, submit, inner, .. } = model;
    let generic = !model.generics.params.is_empty();
    let parameters = generic.then(|| model.parameters(&TokenStream::new()));
    let (arguments, clause) = (type_arguments(model), where_clause(model));
    let about = format!(
        "Returns the methods of [`{name}`] that have a lane, in a form that queues the call and returns a \
         [`Ticket`](::lanekeeper::Ticket) for the answer at once."
    );
    let function = quote! {
        #[doc = #about]
        #[must_use = "nothing is queued until a method is called"]
        #visibility fn submit #parameters(&self) -> #submit #arguments #clause {
            #submit {
                proxy: ::core::clone::Clone::clone(self),
                of: ::core::marker::PhantomData,
            }
        }
    };
    replace_self(function, inner)
}

/// Returns the implementations of the type.
pub(crate) fn implementations(model: &Model) -> TokenStream {
    let Model { submit, inner, .. } = model;
    let (attributes, bounds) = (model.attributes.all(), bounds(model));
    let (arguments, clause) = (type_arguments(model), where_clause(model));
    let (bounded, unbounded) =
        (model.parameters(&quote!(#inner: #bounds)), model.parameters(&quote!(#inner)));
    let whole_clause = &model.generics.where_clause;
    let methods = model.methods.iter().filter_map(|method| match &method.kind {
        MethodKind::Lane(keys) if method.future.is_none() => {
            Some(submit_method(model, method, keys))
        }
        MethodKind::Lane(_) | MethodKind::Direct | MethodKind::Provided => None,
    });
    let name = submit.unraw().to_string();
    let implementations = quote! {
        #attributes
        #[automatically_derived]
        impl #bounded #submit #arguments #whole_clause {
            #(#methods)*
        }

        #attributes
        #[automatically_derived]
        impl #unbounded ::core::clone::Clone for #submit #arguments #clause {
            fn clone(&self) -> #submit #arguments {
                #submit {
                    proxy: ::core::clone::Clone::clone(&self.proxy),
                    of: ::core::marker::PhantomData,
                }
            }
        }

        #attributes
        #[automatically_derived]
        impl #unbounded ::core::fmt::Debug for #submit #arguments #clause {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(#name).field("proxy", &self.proxy).finish_non_exhaustive()
            }
        }
    };
    replace_self(implementations, inner)
}

/// Returns one method.
fn submit_method(model: &Model, method: &Method, keys: &LaneKeys) -> TokenStream {
    let (visibility, attributes) = (&model.visibility, method.attributes.all());
    let (name, this) = (method.name.unraw(), &method.self_token);
    let about = format!(
        "Queues [`{name}`]({}::{name}) and returns at once, with a ticket for its answer.",
        model.name.unraw()
    );
    let mut signature = method.signature.clone();
    // Lints see a name of the macro, since the user cannot help an unused method.
    signature.ident.set_span(Span::call_site().located_at(signature.ident.span()));
    if let ReturnType::Type(_, answer) = &signature.output {
        let ticket = ticket_type(answer);
        signature.output = parse_quote!(-> #ticket);
    }
    let body = lane_method::body(model, (method, keys), "submit", &quote!(#this.proxy));
    quote! {
        #[doc = #about]
        #attributes
        #visibility #signature #body
    }
}

/// Returns the type of the ticket for an answer. It is written out if possible, to be readable in the documentation.
/// For an alias such as `io::Result<T>` only the compiler knows the error.
fn ticket_type(answer: &Type) -> TokenStream {
    if let Some([value, error]) = result_types(answer) {
        return quote!(::lanekeeper::Ticket<#value, #error>);
    }
    let of = quote!(<#answer as ::lanekeeper::proxy::ResultParts>);
    quote!(::lanekeeper::Ticket<#of::Value, #of::Error>)
}

/// Returns the `R` and the `E` of a `Result<R, E>`.
fn result_types(answer: &Type) -> Option<[&Type; 2]> {
    let Type::Path(path) = answer else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Result")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    let mut types = arguments.args.iter().map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    match (types.next(), types.next(), types.next()) {
        (Some(Some(value)), Some(Some(error)), None) => Some([value, error]),
        _ => None,
    }
}

/// Returns the arguments of the type: `<T, K, V>`.
fn type_arguments(model: &Model) -> TokenStream {
    let inner = &model.inner;
    let own = model.generics.params.iter().filter_map(|parameter| match parameter {
        GenericParam::Type(parameter) => Some(&parameter.ident),
        GenericParam::Const(parameter) => Some(&parameter.ident),
        GenericParam::Lifetime(_) => None,
    });
    quote!(<#inner #(, #own)*>)
}

/// Returns the bounds that the type itself needs. Bounds on `Self` apply where `T` is
/// known to implement the trait.
fn where_clause(model: &Model) -> Option<TokenStream> {
    let clause = model.generics.where_clause.as_ref()?;
    let free = clause.predicates.iter().filter(|predicate| !mentions_self(predicate));
    Some(quote!(where #(#free,)*))
}

fn mentions_self(tokens: impl ToTokens) -> bool {
    tokens.into_token_stream().into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions_self(group.stream()),
        TokenTree::Ident(word) => word == "Self",
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// Replaces `Self` by the inner type, as in `T::Key` for `Self::Key`: the type is not an implementor of the trait.
fn replace_self(tokens: TokenStream, inner: &Ident) -> TokenStream {
    let translate = |token| match token {
        TokenTree::Group(group) => {
            let mut translated = Group::new(group.delimiter(), replace_self(group.stream(), inner));
            translated.set_span(group.span());
            TokenTree::Group(translated)
        }
        TokenTree::Ident(word) if word == "Self" => {
            let mut inner = inner.clone();
            inner.set_span(Span::call_site().located_at(word.span()));
            TokenTree::Ident(inner)
        }
        other => other,
    };
    tokens.into_iter().map(translate).collect()
}
