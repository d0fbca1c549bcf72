//! The arguments of a method, and how each is transferred from the caller's thread to the worker's.
//!
//! `method` reads them, and `lane_method` writes the code that packs and unpacks them. An argument that cannot be
//! transferred is reported with the type to write instead.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Error, GenericArgument, Ident, Lifetime, ParenthesizedGenericArguments, Pat, PatType,
    PathArguments, Result, TraitBound, Type, TypeFnPtr, TypeMacro, TypePath, TypeReference,
};

use crate::attributes::CarriedAttributes;
use crate::future::FutureForm;

/// An argument of a method.
pub(crate) struct Argument {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) attributes: CarriedAttributes,
}

/// How an argument of a method with a lane is transferred.
enum Transfer {
    /// The value is moved.
    Moved,
    /// `&T`: cloned on the caller's thread, and borrowed from the clone on the worker's.
    Cloned(Type),
    /// `Option<&T>`: the same, inside the `Option`.
    ClonedInside(Type),
}

impl Argument {
    /// Reads the argument at `index`. A pattern is replaced by a name, since the generated code passes
    /// the argument on as a whole.
    pub(crate) fn read(index: usize, argument: &PatType) -> Result<Self> {
        let name = match &*argument.pat {
            Pat::Ident(pattern) if pattern.subpat.is_none() => pattern.ident.clone(),
            _ => format_ident!("__lk_argument_{index}", span = Span::mixed_site()),
        };
        let carried = CarriedAttributes::read(&argument.attrs)?;
        Ok(Self { name, ty: (*argument.ty).clone(), attributes: carried })
    }

    /// Checks that the argument can be transferred to another thread.
    pub(crate) fn check_transfer(&self) -> Result<()> {
        let transfer = transfer_of(&self.ty);
        let inside = match &transfer {
            Transfer::Moved => &self.ty,
            Transfer::Cloned(Type::TraitObject(object)) => {
                let message = "a `dyn` value cannot be cloned on its way to the lane's thread: \
                               take an `Arc<dyn ..>`";
                return Err(Error::new_spanned(object, message));
            }
            Transfer::Cloned(inside) | Transfer::ClonedInside(inside) => inside,
        };
        first_borrow(inside).map_or(Ok(()), |borrow| Err(borrow.in_argument()))
    }

    /// Checks that each attempt of a call that its own task makes can have the argument.
    pub(crate) fn check_repeatable(&self) -> Result<()> {
        let is_mutable = first_borrow(&self.ty).filter(|borrow| borrow.mutable);
        is_mutable.map_or(Ok(()), |borrow| Err(borrow.in_attempt()))
    }

    /// Returns the expression that passes the argument on as it is, on the thread or the task of the caller: what is borrowed
    /// stays borrowed. If the call `is_repeatable`, each attempt has a clone.
    pub(crate) fn pass(&self, is_repeatable: bool) -> TokenStream {
        let (name, cfg) = (&self.name, self.attributes.cfg());
        if is_repeatable {
            let copy = cloned(&self.ty, name);
            quote!(#cfg #copy)
        } else {
            quote!(#cfg #name)
        }
    }

    /// Returns the statement that makes an owned copy of the argument, on the caller's thread.
    pub(crate) fn pack(&self) -> TokenStream {
        let (name, packed, cfg) = (&self.name, self.copy_name(), self.attributes.cfg());
        match transfer_of(&self.ty) {
            Transfer::Moved => TokenStream::new(),
            Transfer::Cloned(inside) => {
                let copy = to_owned(&inside, &quote!(#name));
                quote!(#cfg let #packed = #copy;)
            }
            Transfer::ClonedInside(inside) => {
                let copy = to_owned(&inside, &quote!(value));
                quote!(#cfg let #packed = ::core::option::Option::map(#name, |value| #copy);)
            }
        }
    }

    /// Returns the expression that passes the argument to the inner method, on the worker's thread.
    ///
    /// A moved argument is cloned if the call `is_repeatable`.
    pub(crate) fn unpack(&self, is_repeatable: bool) -> TokenStream {
        let (name, packed, cfg) = (&self.name, self.copy_name(), self.attributes.cfg());
        match transfer_of(&self.ty) {
            Transfer::Moved if is_repeatable => {
                let copy = cloned(&self.ty, name);
                quote!(#cfg #copy)
            }
            Transfer::Moved => quote!(#cfg #name),
            Transfer::Cloned(inside) => {
                quote!(#cfg ::core::borrow::Borrow::<#inside>::borrow(&#packed))
            }
            Transfer::ClonedInside(inside) => quote! {
                #cfg ::core::option::Option::map(
                    ::core::option::Option::as_ref(&#packed),
                    ::core::borrow::Borrow::<#inside>::borrow,
                )
            },
        }
    }

    /// Returns the expression that lends the argument on the caller's thread: as it is if it is borrowed already.
    pub(crate) fn lend(&self) -> TokenStream {
        let (name, cfg) = (&self.name, self.attributes.cfg());
        match transfer_of(&self.ty) {
            Transfer::Moved => quote!(#cfg &#name),
            Transfer::Cloned(_) | Transfer::ClonedInside(_) => quote!(#cfg #name),
        }
    }

    /// Returns the type of the owned copy.
    pub(crate) fn owned_type(&self) -> TokenStream {
        // An error about the type points there.
        let owned = |inside: &Type| {
            let span = Span::call_site().located_at(inside.span());
            quote_spanned!(span=> <#inside as ::std::borrow::ToOwned>::Owned)
        };
        match transfer_of(&self.ty) {
            Transfer::Moved => self.ty.to_token_stream(),
            Transfer::Cloned(inside) => owned(&inside),
            Transfer::ClonedInside(inside) => {
                let owned = owned(&inside);
                quote!(::core::option::Option<#owned>)
            }
        }
    }

    /// Returns the name of the variable with the owned copy, which [`pack`](Self::pack) makes.
    pub(crate) fn owned_name(&self) -> Ident {
        match transfer_of(&self.ty) {
            Transfer::Moved => self.name.clone(),
            Transfer::Cloned(_) | Transfer::ClonedInside(_) => self.copy_name(),
        }
    }

    /// Returns the expression that moves the owned copy. If the argument `is_lent_later`, a moved one is cloned.
    pub(crate) fn owned_value(&self, is_lent_later: bool) -> TokenStream {
        match transfer_of(&self.ty) {
            Transfer::Moved if is_lent_later => cloned(&self.ty, &self.name),
            _ => self.owned_name().to_token_stream(),
        }
    }

    /// Returns the name of the owned copy: a local variable of the macro, which cannot collide with a user's name.
    fn copy_name(&self) -> Ident {
        format_ident!("__lk_copy_of_{}", self.name, span = Span::mixed_site())
    }
}

/// Returns the expression of an owned copy. Its span is the type's, so "`Clone` is not satisfied" points there.
fn to_owned(ty: &Type, value: &TokenStream) -> TokenStream {
    let span = Span::call_site().located_at(ty.span());
    quote_spanned!(span=> <#ty as ::std::borrow::ToOwned>::to_owned(#value))
}

/// Returns the expression of a clone. Its span is the type's, too.
fn cloned(ty: &Type, name: &Ident) -> TokenStream {
    let span = Span::call_site().located_at(ty.span());
    quote_spanned!(span=> <#ty as ::core::clone::Clone>::clone(&#name))
}

fn transfer_of(ty: &Type) -> Transfer {
    if let Some(inside) = borrowed(ty) {
        return Transfer::Cloned(inside.clone());
    }
    match option_of(ty).and_then(borrowed) {
        Some(inside) => Transfer::ClonedInside(inside.clone()),
        None => Transfer::Moved,
    }
}

/// Returns the `T` of a `&T`. A `&'static T` can be moved as it is.
fn borrowed(ty: &Type) -> Option<&Type> {
    match ty {
        Type::Reference(reference)
            if reference.mutability.is_none() && !is_static(reference.lifetime.as_ref()) =>
        {
            Some(strip_parens(&reference.elem))
        }
        Type::Paren(paren) => borrowed(&paren.elem),
        Type::Group(group) => borrowed(&group.elem),
        _ => None,
    }
}

/// Returns `T` without the parentheses of `(T)`, which are needed only in `&(dyn A + B)`.
fn strip_parens(ty: &Type) -> &Type {
    match ty {
        Type::Paren(paren) => strip_parens(&paren.elem),
        Type::Group(group) => strip_parens(&group.elem),
        other => other,
    }
}

/// Returns the `T` of an `Option<T>`.
fn option_of(ty: &Type) -> Option<&Type> {
    argument_of(strip_parens(ty), "Option")
}

/// Returns the `T` of a `Wrapper<T>`, however the path to `Wrapper` is written.
pub(crate) fn argument_of<'a>(ty: &'a Type, wrapper: &str) -> Option<&'a Type> {
    let Type::Path(TypePath { qself: None, path, .. }) = ty else { return None };
    let last = path.segments.last().filter(|last| last.ident == wrapper)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(inside)) => Some(inside),
        _ => None,
    }
}

fn is_static(lifetime: Option<&Lifetime>) -> bool {
    lifetime.is_some_and(|lifetime| lifetime.ident == "static")
}

/// A borrow in a type, for less than `'static`.
pub(crate) struct Borrow {
    span: Span,
    mutable: bool,
}

impl Borrow {
    fn in_argument(&self) -> Error {
        let message = if self.mutable {
            "a call through a lane runs on another thread and cannot change what the caller holds: \
             take an owned value, and give the change back in the answer"
        } else {
            "a call through a lane runs on another thread, and this cannot be lent to it: take an \
             owned value, `&T`, `&str`, `&[T]`, or an `Option` of these"
        };
        Error::new(self.span, message)
    }

    fn in_attempt(&self) -> Error {
        let message = "a lane may repeat a call, and each attempt needs its arguments: take an owned value or `&T`, and \
                       give the change back in the answer";
        Error::new(self.span, message)
    }

    /// Returns the error for a borrow in the answer of a method.
    pub(crate) fn in_answer(&self, future: Option<FutureForm>) -> Error {
        let message = match future {
            None => {
                "the answer comes from another thread and cannot borrow: return an owned \
                 value, such as `String` for `&str` or `Vec<T>` for `&[T]`"
            }
            Some(_) => {
                "the lane keeps the answer until the task takes it, so it cannot borrow: return an owned \
                 value, such as `String` for `&str` or `Vec<T>` for `&[T]`"
            }
        };
        Error::new(self.span, message)
    }
}

/// Returns the first borrow in `ty` that is shorter than `'static`. A lifetime that is left out of a
/// path (`Row` for `Row<'_>`) cannot be seen here, and is reported by rustc.
pub(crate) fn first_borrow(ty: &Type) -> Option<Borrow> {
    let mut finder = BorrowFinder(None);
    finder.visit_type(ty);
    finder.0
}

struct BorrowFinder(Option<Borrow>);

impl BorrowFinder {
    fn found(&mut self, span: Span, mutable: bool) {
        self.0.get_or_insert(Borrow { span, mutable });
    }
}

impl<'ast> Visit<'ast> for BorrowFinder {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        if let Some(mutable) = &reference.mutability {
            let span = reference.and_token.span;
            self.found(span.join(mutable.span()).unwrap_or(span), true);
        } else if !is_static(reference.lifetime.as_ref()) {
            self.found(reference.and_token.span, false);
        }
        self.visit_type(&reference.elem);
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if !is_static(Some(lifetime)) {
            self.found(lifetime.span(), false);
        }
    }

    // A function pointer's parameters are borrowed by its callers, not by this type.
    fn visit_type_fn_ptr(&mut self, _: &'ast TypeFnPtr) {}
    fn visit_parenthesized_generic_arguments(&mut self, _: &'ast ParenthesizedGenericArguments) {}

    fn visit_trait_bound(&mut self, bound: &'ast TraitBound) {
        // In `for<'a> Visitor<'a>` the lifetime belongs to the bound.
        if bound.lifetimes.is_none() {
            visit::visit_trait_bound(self, bound);
        }
    }

    // The tokens of a macro call are not a type yet.
    fn visit_type_macro(&mut self, _: &'ast TypeMacro) {}
}
