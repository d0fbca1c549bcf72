//! Whether a method is asynchronous, and what its future answers.
//!
//! Three forms are read: an `async fn`, a function that returns `impl Future`, and what `async_trait` makes of an `async fn`,
//! a function that returns a boxed future. The first is rewritten to the second: only there can a trait demand that the
//! futures of every implementor are `Send`. Implementors write `async fn` all the same.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Error, GenericArgument, PathArguments, PathSegment, Result, ReturnType, Signature, TraitItemFn,
    Type, TypeParamBound, parse_quote, parse_quote_spanned,
};

use crate::argument::argument_of;

/// How a method returns its future.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FutureForm {
    /// `impl Future<Output = ..> + Send`.
    Opaque,
    /// `Pin<Box<dyn Future<Output = ..> + Send + '_>>`.
    Boxed,
}

impl FutureForm {
    /// Returns an expression of the type that the method returns, from a future.
    pub(crate) fn of(self, future: &TokenStream) -> TokenStream {
        match self {
            Self::Opaque => future.clone(),
            Self::Boxed => quote!(::std::boxed::Box::pin(#future)),
        }
    }
}

/// Rewrites an `async fn` to a function that returns its future.
pub(crate) fn rewrite(method: &mut TraitItemFn) {
    let Some(token) = method.sig.asyncness.take() else { return };
    let (span, answer) = match &method.sig.output {
        ReturnType::Type(_, answer) => (answer.span(), (**answer).clone()),
        ReturnType::Default => {
            let span = method.sig.ident.span();
            (span, parse_quote_spanned!(span=> ()))
        }
    };
    let span = Span::call_site().located_at(span);
    method.sig.output = parse_quote_spanned! {span=>
        -> impl ::core::future::Future<Output = #answer> + ::core::marker::Send
    };
    if let Some(body) = &mut method.default {
        let span = Span::call_site().located_at(token.span());
        let block = quote_spanned!(span=> { async move #body });
        *body = parse_quote!(#block);
    }
}

/// Returns the form of the future that the method returns, and its answer. `None` if the method is not asynchronous.
pub(crate) fn read(signature: &Signature) -> Result<Option<(FutureForm, Type)>> {
    let ReturnType::Type(_, returned) = &signature.output else { return Ok(None) };
    let (form, bounds) = match &**returned {
        Type::ImplTrait(opaque) => (FutureForm::Opaque, &opaque.bounds),
        Type::Path(_) => match argument_of(returned, "Pin").and_then(|it| argument_of(it, "Box")) {
            Some(Type::TraitObject(object)) => (FutureForm::Boxed, &object.bounds),
            _ if is_alias(returned) => {
                let message = "#[proxy] cannot see through the name of a type: write `async fn`, \
                               `impl Future<Output = ..> + Send`, or the boxed type in full";
                return Err(Error::new_spanned(returned, message));
            }
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let Some(answer) = bounds.iter().find_map(answer_of) else { return Ok(None) };
    // A boxed future has a lifetime. An opaque one borrows from its arguments without.
    let is_known = |bound: &&TypeParamBound| {
        let is_lifetime = form == FutureForm::Boxed && matches!(bound, TypeParamBound::Lifetime(_));
        is_lifetime || is_trait(bound, "Future") || is_trait(bound, "Send")
    };
    if let Some(other) = bounds.iter().find(|bound| !is_known(bound)) {
        let message = "the proxy's future borrows from the proxy and is `Send`, and promises nothing else: leave this out";
        return Err(Error::new_spanned(other, message));
    }
    if !bounds.iter().any(|bound| is_trait(bound, "Send")) {
        let message = "a task may move to another thread between two polls: the future must be `Send`, as in \
                       `impl Future<Output = ..> + Send`";
        return Err(Error::new_spanned(returned, message));
    }
    Ok(Some((form, answer.clone())))
}

/// Returns whether the type has the name of a boxed future, such as `BoxFuture` and `LocalBoxFuture`.
fn is_alias(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|last| last.ident.to_string().ends_with("BoxFuture"))
}

/// Returns the `X` of a bound `Future<Output = X>`.
fn answer_of(bound: &TypeParamBound) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &last_segment(bound, "Future")?.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(output) if output.ident == "Output" => Some(&output.ty),
        _ => None,
    })
}

fn is_trait(bound: &TypeParamBound, name: &str) -> bool {
    last_segment(bound, name).is_some()
}

fn last_segment<'a>(bound: &'a TypeParamBound, name: &str) -> Option<&'a PathSegment> {
    let TypeParamBound::Trait(bound) = bound else { return None };
    bound.path.segments.last().filter(|last| last.ident == name)
}
