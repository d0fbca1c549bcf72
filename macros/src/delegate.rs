//! Writes the macro that forwards the methods of a trait, for decorators: types that hold an implementor of the
//! trait and implement the trait themselves.
//!
//! The macro is a `macro_rules!`, so it knows every method of the trait wherever it is used. It is called in an `impl`
//! of the trait, in any crate, so it must not depend on what is imported there: each type of a signature is written
//! with its path. The signatures use the `self` token that the caller passes in: by macro hygiene, a `self` written here
//! would be a different name.

use proc_macro2::{Spacing, Span, TokenStream, TokenTree};
use quote::{format_ident, quote};
use syn::visit_mut::{self, VisitMut};
use syn::{Error, FnArg, Path, PathArguments, Result, Visibility};

use crate::method::Method;
use crate::model::{Model, has_parameters};

/// Names that mean the same in every crate, and so need no path.
const PRELUDE: [&str; 25] = [
    "Self", "Option", "Result", "Vec", "String", "Box", "bool", "char", "str", "i8", "i16", "i32",
    "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128", "usize", "f32", "f64", "Send",
    "Sync",
];

/// Checks that the macro at `path` can be written for the trait.
pub(crate) fn check(path: &Path, item: &syn::ItemTrait) -> Result<()> {
    let segments: Vec<_> = path.segments.iter().collect();
    if segments.len() < 2 || segments[0].ident != "crate" {
        let message = "write the path of the trait's module and a name for the macro: \
                       `delegate = crate::MODULE::NAME`";
        return Err(Error::new_spanned(path, message));
    }
    if has_parameters(item) {
        let message = "`delegate` is for a trait without parameters and associated types";
        return Err(Error::new_spanned(path, message));
    }
    // An exported macro is at the root already, where a second name for it would clash.
    if segments.len() == 2 && matches!(item.vis, Visibility::Public(_)) {
        let message = "put a public trait into a module, and write its path: `delegate = crate::MODULE::NAME`";
        return Err(Error::new_spanned(path, message));
    }
    Ok(())
}

/// Returns the macro, if the attribute has the key `delegate`.
pub(crate) fn declaration(model: &Model) -> TokenStream {
    let Some(path) = &model.delegate else { return TokenStream::new() };
    let Some(last) = path.segments.last() else { return TokenStream::new() };
    let (name, trait_name) = (&last.ident, &model.name);
    // The path as seen from another crate: `$crate::broker::`.
    let module = path.segments.iter().skip(1).take(path.segments.len() - 2).map(|it| &it.ident);
    let module = quote!($crate:: #(#module::)*);
    // The rules of the methods are in a macro of their own, so that the documentation shows only how to call it.
    let rules_name = format_ident!("__{name}");
    let rules_path = quote!(#module #rules_name);
    let methods = model.methods.iter().map(|method| &method.name);
    let each = methods.map(|method| quote!(#rules_path! { @#method $this ($target) [$($own)*] }));
    let names = model.methods.iter().map(|method| &method.name);
    let rules = model.methods.iter().map(|method| rules(model, method, &module, &rules_path));
    let cfg = model.attributes.cfg();
    let is_public = matches!(model.visibility, Visibility::Public(_));
    let export = if is_public { quote!(#[macro_export]) } else { TokenStream::new() };
    let visibility = if is_public { quote!(pub) } else { quote!(pub(crate)) };
    // A future borrows the inner value for as long as the decorator lives, so what the method returns is dereferenced: a
    // reference to it would end with the method.
    let is_async = model.methods.iter().any(|method| method.future.is_some());
    let dereference = if is_async { quote!(*) } else { TokenStream::new() };
    let of_async = if is_async { ", which must be a reference" } else { "" };
    let first = model.methods.first().map(|method| method.name.to_string()).unwrap_or_default();
    let link = quote!(#path).to_string().replace(' ', "");
    let link = link.replace(&name.to_string(), &trait_name.to_string());
    let about = format!(
        "Forwards the methods of [`{trait_name}`]({link}) to the value inside a decorator, for use in the \
         decorator's `impl {trait_name}`.\n\n\
         It writes every method except those after `except`, provided ones too, so a method that is added to the \
         trait later is forwarded as well. The value is a field of `self`, a field of a field, or the result of a \
         method{of_async}:\n\n\
         ```text\n{name}! {{ to self.inner }}\n{name}! {{ to self.inner() }}\n\
         {name}! {{ to self.inner; except {first} }}\n```\n\n\
         A method after `except` is written by the decorator, or keeps its default body. A provided method that is \
         built on such a method must stand after `except` too: otherwise it is forwarded past the decorator."
    );
    quote! {
        #[doc = #about]
        #cfg
        #export
        macro_rules! #name {
            (to $this:ident $(. $field:ident)+ $(; except $($own:ident),+ $(,)?)?) => {
                #rules_path! { @all $this ($this $(.$field)+) [$($($own)+)?] }
            };
            (to $this:ident . $method:ident () $(; except $($own:ident),+ $(,)?)?) => {
                #rules_path! { @all $this (#dereference $this.$method()) [$($($own)+)?] }
            };
        }
        #[allow(unused_imports)]
        #cfg
        #visibility use #name;

        #[doc(hidden)]
        #cfg
        #export
        macro_rules! #rules_name {
            (@all $this:ident ($target:expr) [$($own:ident)*]) => {
                $(#rules_path! { @check_name $own })*
                #(#each)*
            };
            // A misspelt name, or one of a method that was renamed, must not leave a method forwarded.
            #((@check_name #names) => {};)*
            (@check_name $other:ident) => {
                ::core::compile_error! {
                    ::core::concat!("the trait has no method `", ::core::stringify!($other), "` to write after `except`")
                }
            };
            #(#rules)*
        }
        #[allow(unused_imports)]
        #[doc(hidden)]
        #cfg
        #visibility use #rules_name;
    }
}

/// Returns the rules for one method. They remove the names after `except` one by one, and write the method if it is not
/// among them.
fn rules(
    model: &Model,
    method: &Method,
    module: &TokenStream,
    rules_path: &TokenStream,
) -> TokenStream {
    let (method_name, trait_name) = (&method.name, &model.name);
    let function = function(method, &quote!(#module #trait_name), module);
    quote! {
        (@#method_name $this:ident ($target:expr) [#method_name $($own:ident)*]) => {};
        (@#method_name $this:ident ($target:expr) [$other:ident $($own:ident)*]) => {
            #rules_path! { @#method_name $this ($target) [$($own)*] }
        };
        (@#method_name $this:ident ($target:expr) []) => { #function };
    }
}

/// Returns a method that forwards its call to `$target`, with all paths written out.
fn function(method: &Method, path: &TokenStream, module: &TokenStream) -> TokenStream {
    let mut signature = method.signature.clone();
    for input in &mut signature.inputs {
        if let FnArg::Typed(argument) = input {
            PathWriter.visit_type_mut(&mut argument.ty);
        }
    }
    PathWriter.visit_return_type_mut(&mut signature.output);
    let name = &method.name;
    let arguments = method.arguments.iter().map(|argument| argument.pass(false));
    let signature = expand_markers(quote!(#signature), module);
    let attributes = method.attributes.all();
    quote! {
        #attributes
        #signature {
            #path::#name(&$target #(, #arguments)*)
        }
    }
}

/// A visitor that puts a marker in front of each path of a signature. A `syn::Path` cannot hold `$crate`, so a marker stands for it until the signature
/// is tokens.
struct PathWriter;

const ROOT: &str = "__lk_root";
const MODULE: &str = "__lk_module";

impl VisitMut for PathWriter {
    fn visit_path_mut(&mut self, path: &mut Path) {
        visit_mut::visit_path_mut(self, path);
        let Some(first) = path.segments.first_mut() else { return };
        if path.leading_colon.is_some() {
            return;
        }
        if first.ident == "crate" {
            first.ident = format_ident!("{ROOT}");
        } else if !(PRELUDE.iter().any(|known| first.ident == known)) {
            let marker = format_ident!("{MODULE}");
            let segment = syn::PathSegment { ident: marker, arguments: PathArguments::None };
            path.segments.insert(0, segment);
        }
    }
}

/// Writes the paths that the markers stand for, and the `self` of the macro's call.
fn expand_markers(tokens: TokenStream, module: &TokenStream) -> TokenStream {
    let mut written = TokenStream::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => {
                let inside = expand_markers(group.stream(), module);
                let mut group = proc_macro2::Group::new(group.delimiter(), inside);
                group.set_span(Span::call_site());
                written.extend([TokenTree::Group(group)]);
            }
            TokenTree::Ident(word) if word == ROOT => written.extend(quote!($crate)),
            TokenTree::Ident(word) if word == MODULE => {
                written.extend(module.clone());
                // Skip the `::` after the marker: the path of the module ends with it already.
                while matches!(tokens.peek(), Some(TokenTree::Punct(colon)) if colon.as_char() == ':')
                {
                    if let Some(TokenTree::Punct(colon)) = tokens.next() {
                        if colon.spacing() == Spacing::Alone {
                            break;
                        }
                    }
                }
            }
            TokenTree::Ident(word) if word == "self" => written.extend(quote!($this)),
            other => written.extend([other]),
        }
    }
    written
}
