//! Reads one method of the trait: how the proxy calls it, and the errors that prevent that.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{
    Attribute, FnArg, GenericParam, Ident, Meta, ReceiverKind, ReturnType, Safety, Signature,
    Token, TraitItemFn, Type, WherePredicate,
};

use crate::argument::{Argument, first_borrow};
use crate::attributes::CarriedAttributes;
use crate::errors::Errors;
use crate::future::{self, FutureForm};
use crate::lane_attr::LaneKeys;

/// Methods of every proxy, which would hide methods of the trait of the same name.
const RESERVED_METHODS: [&str; 8] =
    ["builder", "inner", "lanes", "with", "submit", "status", "responses", "shutdown"];

/// How the proxy calls a method.
pub(crate) enum MethodKind {
    /// In a lane, on a worker's thread, or by the caller's task if it is asynchronous.
    Lane(LaneKeys),
    /// On the caller's thread.
    Direct,
    /// By running the default body of the trait.
    Provided,
}

/// A method that the generated code implements or forwards.
pub(crate) struct Method {
    pub(crate) kind: MethodKind,
    pub(crate) attributes: CarriedAttributes,
    pub(crate) name: Ident,
    /// The signature of the trait, but with a plain name for each argument.
    pub(crate) signature: Signature,
    /// The user's `self`. One that a macro writes would be another variable.
    pub(crate) self_token: Token![self],
    pub(crate) arguments: Vec<Argument>,
    /// How it returns its future, if it is asynchronous.
    pub(crate) future: Option<FutureForm>,
    /// What it returns, or what its future does.
    pub(crate) answer: Option<Type>,
    /// The span for errors about the return type.
    pub(crate) return_span: Span,
}

/// Removes the helper attributes from `method` and reads it. Returns `None` for a method that
/// the generated code leaves out, or that has errors.
pub(crate) fn read(method: &mut TraitItemFn, errors: &mut Errors) -> Option<Method> {
    let helpers = HelperAttributes::extract(&mut method.attrs, errors);
    let name = method.sig.ident.clone();

    if requires_sized_self(&method.sig) {
        if method.default.is_none() || helpers.is_present() {
            errors.at(
                name.span(),
                "a method with `where Self: Sized` is left out of the proxy: give it a default \
                 body, and neither #[lane] nor #[direct]",
            );
        }
        return None;
    }

    future::rewrite(method);
    let returned = errors.ok(future::read(&method.sig));
    let is_read = returned.is_some();
    let (future, answer) = match (returned, &method.sig.output) {
        (Some(Some((form, answer))), _) => (Some(form), Some(answer)),
        (Some(None), ReturnType::Type(_, answer)) => (None, Some((**answer).clone())),
        (None, _) | (_, ReturnType::Default) => (None, None),
    };
    let self_token = check_object_safe(&method.sig, answer.as_ref(), errors);
    if RESERVED_METHODS.iter().any(|own| name == own) {
        let message = format!(
            "the proxy has a function `{name}` of its own, which would hide this one: choose \
             another name"
        );
        errors.at(name.span(), message);
    }
    let arguments = arguments(&method.sig, errors);
    // Checked even if the keys are wrong, so that one build reports all errors.
    let is_laned = helpers.lane.is_some();
    let kind = helpers.kind(&name, method.default.is_some(), errors);
    if is_laned && is_read {
        for argument in &arguments {
            errors.ok(match future {
                Some(_) => argument.check_repeatable(),
                None => argument.check_transfer(),
            });
        }
        check_answer(&name, answer.as_ref(), future, errors);
    }
    if let Some(MethodKind::Lane(LaneKeys { cache: Some(_), .. })) = &kind {
        for argument in arguments.iter().filter(|argument| argument.attributes.is_conditional()) {
            let message = "an argument with #[cfg] cannot be part of the key of a kept answer: leave `cache` out";
            errors.at(argument.name.span(), message);
        }
    }
    let carried = errors.ok(CarriedAttributes::read(&method.attrs))?;
    let return_span = answer.as_ref().map_or(name.span(), Spanned::span);
    let signature = plain_signature(&method.sig, &arguments);
    Some(Method {
        kind: kind?,
        attributes: carried,
        name,
        signature,
        self_token: self_token?,
        arguments,
        future,
        answer,
        return_span,
    })
}

/// The helper attributes of a method.
struct HelperAttributes {
    lane: Option<syn::Result<LaneKeys>>,
    direct: bool,
}

impl HelperAttributes {
    fn extract(attributes: &mut Vec<Attribute>, errors: &mut Errors) -> Self {
        let mut found = Self { lane: None, direct: false };
        attributes.retain(|attribute| {
            let path = attribute.path();
            if path.is_ident("lane") {
                if found.lane.replace(LaneKeys::parse(attribute)).is_some() {
                    errors.at(path.span(), "a method has one lane");
                }
            } else if path.is_ident("direct") {
                if !matches!(attribute.meta, Meta::Path(_)) {
                    errors.at(path.span(), "#[direct] has no keys: write it alone");
                }
                found.direct = true;
            } else {
                return true;
            }
            if found.direct && found.lane.is_some() {
                errors.at(
                    path.span(),
                    "#[direct] goes around the lanes: give the method either #[lane(..)] or \
                     #[direct]",
                );
            }
            false
        });
        found
    }

    fn is_present(&self) -> bool {
        self.direct || self.lane.is_some()
    }

    fn kind(self, name: &Ident, has_body: bool, errors: &mut Errors) -> Option<MethodKind> {
        match self.lane {
            Some(keys) => errors.ok(keys).map(MethodKind::Lane),
            None if self.direct => Some(MethodKind::Direct),
            None if has_body => Some(MethodKind::Provided),
            None => {
                errors.at(
                    name.span(),
                    "no lane: give the method #[lane(NAME, read)] or #[lane(NAME, write)], a \
                     default body, or #[direct] to go around the lanes",
                );
                None
            }
        }
    }
}

/// Returns whether the method has `where Self: Sized`, and so is not a part of the trait object.
fn requires_sized_self(signature: &Signature) -> bool {
    signature.generics.where_clause.iter().flat_map(|clause| &clause.predicates).any(|predicate| {
        let WherePredicate::Type(predicate) = predicate else { return false };
        matches!(&predicate.bounded_ty, Type::Path(ty) if ty.path.is_ident("Self"))
            && predicate.bounds.iter().any(|bound| match bound {
                syn::TypeParamBound::Trait(bound) => {
                    bound.path.segments.last().is_some_and(|last| last.ident == "Sized")
                }
                _ => false,
            })
    })
}

/// Reports what prevents a call of the method through `&dyn Trait`. Returns the method's `self`.
fn check_object_safe(
    signature: &Signature,
    answer: Option<&Type>,
    errors: &mut Errors,
) -> Option<Token![self]> {
    if let Some(token) = &signature.constness {
        errors.at(token.span(), "a proxy has no `const fn`: write a plain `fn`");
    }
    if let Safety::Unsafe(token) = &signature.safety {
        errors.at(
            token.span(),
            "a proxy cannot keep the promises of an `unsafe fn`: write a safe `fn`",
        );
    }
    for parameter in &signature.generics.params {
        if !matches!(parameter, GenericParam::Lifetime(_)) {
            errors.at(
                parameter.span(),
                "a generic method cannot be called through `dyn`: name one type, or put \
                 `where Self: Sized` and a default body",
            );
        }
    }
    let types = signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(argument) => Some(&*argument.ty),
        FnArg::Receiver(_) => None,
    });
    for ty in types.chain(answer) {
        check_tokens_object_safe(ty.to_token_stream(), errors);
    }

    match signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) => match &receiver.kind {
            ReceiverKind::Reference(_, _, None) => return Some(receiver.self_token),
            ReceiverKind::Reference(_, _, Some(token)) => errors.at(
                token.span(),
                "many threads share a proxy, so a method takes `&self`; keep what changes behind \
                 a lock or in an atomic",
            ),
            _ => errors.at(
                receiver.self_token.span(),
                "many threads share a proxy, so a method takes `&self`",
            ),
        },
        _ => errors.at(
            signature.ident.span(),
            "a function without `self` cannot be called through a proxy: take `&self`, or put \
             `where Self: Sized` and a default body",
        ),
    }
    None
}

/// Reports `Self` as a type of its own, and `impl Trait`.
fn check_tokens_object_safe(tokens: TokenStream, errors: &mut Errors) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => check_tokens_object_safe(group.stream(), errors),
            TokenTree::Ident(word) if word == "impl" => errors.at(
                word.span(),
                "`impl Trait` cannot be called through `dyn`: name one type, or use \
                 `Box<dyn Trait>`",
            ),
            TokenTree::Ident(word) if word == "Self" => {
                let path = matches!(tokens.peek(), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
                if !path {
                    errors.at(
                        word.span(),
                        "the proxy and what is inside it are two types, so a method cannot take \
                         or return `Self`: name a type",
                    );
                }
            }
            _ => {}
        }
    }
}

fn arguments(signature: &Signature, errors: &mut Errors) -> Vec<Argument> {
    let typed = signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(argument) => Some(argument),
        FnArg::Receiver(_) => None,
    });
    typed
        .enumerate()
        .filter_map(|(index, argument)| errors.ok(Argument::read(index, argument)))
        .collect()
}

/// Checks that the answer is a `Result`, since a lane can refuse a call, and that nothing in it is borrowed, since it comes
/// from another thread, or waits in the lane until its task takes it.
fn check_answer(
    name: &Ident,
    answer: Option<&Type>,
    future: Option<FutureForm>,
    errors: &mut Errors,
) {
    let fallible = "a lane can refuse a call: return `Result<T, E>` with `E: From<LaneError>`, or \
                    make the method #[direct]";
    let Some(answer) = answer else { return errors.at(name.span(), fallible) };
    if let Some(borrow) = first_borrow(answer) {
        errors.add(borrow.in_answer(future));
        return;
    }
    let is_result = match answer {
        Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "Result"),
        // The type that a macro writes is not known here.
        Type::Macro(_) => true,
        _ => false,
    };
    if !is_result {
        errors.at(answer.span(), fallible);
    }
}

/// Returns the signature with a plain name for each argument, and no attributes on them but `#[cfg]`.
fn plain_signature(signature: &Signature, arguments: &[Argument]) -> Signature {
    let mut signature = signature.clone();
    let typed = signature.inputs.iter_mut().filter_map(|input| match input {
        FnArg::Typed(argument) => Some(argument),
        FnArg::Receiver(_) => None,
    });
    for (input, argument) in typed.zip(arguments) {
        let name = &argument.name;
        input.attrs.retain(|attribute| attribute.path().is_ident("cfg"));
        *input.pat = syn::parse_quote!(#name);
    }
    signature
}
