//! Writes the asynchronous form of a trait: the key `asynchronous`.
//!
//! It has the same methods, lanes and default bodies, so neither form lacks what the other one has. A method with a lane, or
//! with a default body and no helper attribute, is an `async fn`. A default body awaits the methods of `self` that are.
//! `#[direct]` methods stay as they are.
//!
//! The form is written through `async_trait`, so that it can be a `dyn`, and through `#[proxy]`, so that it has a proxy too.
//! Beside it stands a type that makes it of an implementor of the trait whose calls return at once.

use std::collections::HashSet;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, Expr, ExprMethodCall, Ident, ItemTrait, Macro, Meta, Token, TraitItem, parse_quote,
};

use crate::errors::Errors;
use crate::method::{Method, MethodKind};
use crate::model::{collect_idents, has_parameters, unused_parameter_name, visibility};
use crate::proxy_attr::ProxyKeys;

/// Checks that `item` can have an asynchronous form of this name.
pub(crate) fn check(name: &Ident, item: &ItemTrait, methods: &[Method], errors: &mut Errors) {
    if has_parameters(item) {
        let message = "`asynchronous` is for a trait without parameters and associated types";
        errors.at(name.span(), message);
    }
    for method in methods.iter().filter(|method| method.future.is_some()) {
        let message = format!("the methods of `{name}` are asynchronous, and this one is already");
        errors.at(method.name.span(), message);
    }
}

/// Returns the trait `name`, the asynchronous form of `item`, whose helper attributes are still there.
pub(crate) fn form(
    item: &ItemTrait,
    methods: &[Method],
    keys: &ProxyKeys,
    name: &Ident,
    errors: &mut Errors,
) -> TokenStream {
    let mut form = item.clone();
    let of = item.ident.unraw();
    form.ident = name.clone();
    let awaited: Vec<Ident> = methods
        .iter()
        .filter(|method| is_awaited(method))
        .map(|method| method.name.clone())
        .collect();
    for entry in &mut form.items {
        let TraitItem::Fn(method) = entry else { continue };
        let about = format!("The asynchronous form of [`{of}::{}`].", method.sig.ident.unraw());
        method.attrs = documented(&about, &method.attrs);
        let may_await = awaited.contains(&method.sig.ident);
        if may_await {
            method.sig.asyncness = Some(Token![async](Span::call_site()));
        }
        if let Some(body) = &mut method.default {
            AwaitWriter { awaited: &awaited, may_await, errors }.visit_block_mut(body);
        }
    }
    let about = format!(
        "The asynchronous form of [`{of}`]. Each method means what that of [`{of}`] does.\n\n\
         An implementor writes `#[lanekeeper::async_trait] impl {name} for ..` with `async fn` in it. The futures are boxed, \
         so a `dyn {name}` works."
    );
    form.attrs = documented(&about, &item.attrs);
    let (arguments, immediate) = (arguments(keys), immediate(item, methods, name));
    quote! {
        ::lanekeeper::__with_async! { {
            #[::lanekeeper::async_trait]
            #[::lanekeeper::proxy(#arguments)]
            #form

            #immediate
        } }
    }
}

/// Returns the type that makes the asynchronous form of an implementor of the trait.
fn immediate(item: &ItemTrait, methods: &[Method], name: &Ident) -> TokenStream {
    let (visibility, of) = (visibility(&item.vis), &item.ident);
    let immediate = format_ident!("Immediate{of}", span = Span::call_site().located_at(of.span()));
    let inner = unused_parameter_name(item);
    let about = format!(
        "A [`{of}`] whose calls return at once, such as one in memory or a mock, as an [`{name}`].\n\n\
         A call runs while its future is polled, so one that waits would block the thread of its task."
    );
    let methods = methods.iter().map(|method| {
        let Method { attributes, name, signature, self_token, arguments, .. } = method;
        let (attributes, mut signature) = (attributes.all(), signature.clone());
        if is_awaited(method) {
            signature.asyncness = Some(Token![async](Span::call_site()));
        }
        let arguments = arguments.iter().map(|argument| argument.pass(false));
        quote! {
            #attributes
            #signature {
                <#inner as #of>::#name(&#self_token.0 #(, #arguments)*)
            }
        }
    });
    quote! {
        #[doc = #about]
        #[derive(::core::fmt::Debug, ::core::clone::Clone, ::core::default::Default)]
        #visibility struct #immediate<#inner>(pub #inner);

        #[::lanekeeper::async_trait]
        impl<#inner: #of + ::core::marker::Send + ::core::marker::Sync> #name for #immediate<#inner> {
            #(#methods)*
        }
    }
}

/// Returns whether the method is an `async fn` in the asynchronous form.
fn is_awaited(method: &Method) -> bool {
    !matches!(method.kind, MethodKind::Direct)
}

/// Returns the attributes with other documentation.
fn documented(about: &str, attributes: &[Attribute]) -> Vec<Attribute> {
    let is_doc = |attribute: &&Attribute| matches!(&attribute.meta, Meta::NameValue(pair) if pair.path.is_ident("doc"));
    let mut all = vec![parse_quote!(#[doc = #about])];
    all.extend(attributes.iter().filter(|attribute| !is_doc(attribute)).cloned());
    all
}

/// Returns the arguments of `#[proxy]` for the asynchronous form.
fn arguments(keys: &ProxyKeys) -> TokenStream {
    fn pair(key: &str, value: Option<&impl ToTokens>) -> Option<TokenStream> {
        let (key, value) = (Ident::new(key, Span::call_site()), value?);
        Some(quote!(#key = #value,))
    }
    let getters =
        [("limits", &keys.limits), ("session", &keys.session), ("reported", &keys.reported)];
    let getters = getters.into_iter().filter_map(|(key, value)| pair(key, value.as_ref()));
    let delegate = pair("delegate", keys.asynchronous_delegate.as_ref());
    quote!(#(#getters)* #delegate)
}

/// A visitor that awaits the calls of `self`'s asynchronous methods. A call that it cannot see would make a future that is never
/// polled, so `self` may only be what a method is called on, outside macros.
struct AwaitWriter<'a> {
    awaited: &'a [Ident],
    /// Whether the body is that of an asynchronous method.
    may_await: bool,
    errors: &'a mut Errors,
}

impl AwaitWriter<'_> {
    fn refuse(&mut self, span: Span) {
        let message = "the asynchronous form awaits calls that are written as `self.METHOD(..)`, outside macros: write it so, \
                       and keep the answer in a variable";
        self.errors.at(span, message);
    }

    /// Returns whether `tokens` mention both `self` and an asynchronous method.
    fn may_call(&self, tokens: &TokenStream) -> bool {
        let mut words = HashSet::new();
        collect_idents(tokens.clone(), &mut words);
        let has_self = words.contains("self") || words.contains("Self");
        has_self && self.awaited.iter().any(|method| words.contains(&method.unraw().to_string()))
    }
}

impl VisitMut for AwaitWriter<'_> {
    fn visit_expr_mut(&mut self, expression: &mut Expr) {
        match expression {
            Expr::MethodCall(call) if is_of_self(call) => {
                call.args.iter_mut().for_each(|argument| self.visit_expr_mut(argument));
                if !self.awaited.contains(&call.method) {
                    return;
                }
                if !self.may_await {
                    let message = "a method that stays blocking cannot call an asynchronous one: leave #[direct] out";
                    return self.errors.at(call.method.span(), message);
                }
                *expression = parse_quote!(#call.await);
            }
            Expr::Path(path) => {
                let is_method = path.path.segments.len() > 1
                    && path.path.segments.last().is_some_and(|it| self.awaited.contains(&it.ident));
                if path.path.is_ident("self") || is_method {
                    self.refuse(path.span());
                }
            }
            other => visit_mut::visit_expr_mut(self, other),
        }
    }

    fn visit_macro_mut(&mut self, call: &mut Macro) {
        if self.may_call(&call.tokens) {
            self.refuse(call.path.span());
        }
    }
}

fn is_of_self(call: &ExprMethodCall) -> bool {
    matches!(&*call.receiver, Expr::Path(path) if path.path.is_ident("self"))
}
