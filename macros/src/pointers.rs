//! Implements the trait for `&X`, `Arc<X>` and `Box<X>`, so that a proxy can be shared, boxed, and put in front of
//! a `dyn`.
//!
//! Every method is forwarded, provided ones too, since `X` may override them.

use proc_macro2::TokenStream;
use quote::quote;

use crate::method::Method;
use crate::model::Model;

/// Returns the three implementations.
pub(crate) fn pointer_impls(model: &Model) -> TokenStream {
    let inner = &model.inner;
    let pointers =
        [quote!(&#inner), quote!(::std::sync::Arc<#inner>), quote!(::std::boxed::Box<#inner>)];
    pointers.iter().map(|pointer| implementation(model, pointer)).collect()
}

fn implementation(model: &Model, pointer: &TokenStream) -> TokenStream {
    let (inner, path, cfg) = (&model.inner, model.path(), model.attributes.all());
    let parameters = model.parameters(&quote!(#inner: #path + ?::core::marker::Sized));
    // A pointer to `X` does not necessarily meet the bounds of the trait, so they are repeated.
    let supertraits = &model.supertraits;
    let types = associated_types(model);
    let methods = model.methods.iter().map(|method| forward(model, method, &quote!()));
    quote! {
        #cfg
        #[automatically_derived]
        impl #parameters #path for #pointer
        where
            #supertraits
        {
            #types
            #(#methods)*
        }
    }
}

/// Returns the associated types, which are those of the inner value.
pub(crate) fn associated_types(model: &Model) -> TokenStream {
    let (inner, path) = (&model.inner, model.path());
    let types = model.types.iter().map(|(name, carried)| {
        let attributes = carried.all();
        quote!(#attributes type #name = <#inner as #path>::#name;)
    });
    types.collect()
}

/// Returns a method that calls the same one of the inner value, which is at `field` of `self`.
pub(crate) fn forward(model: &Model, method: &Method, field: &TokenStream) -> TokenStream {
    let Method { attributes: carried, name, signature, self_token, arguments, .. } = method;
    let (inner, path, attributes) = (&model.inner, model.path(), carried.all());
    let arguments = arguments.iter().map(|argument| argument.pass(false));
    // One body serves any pointer, since the argument of the call is dereferenced as needed.
    let target = if field.is_empty() { quote!(#self_token) } else { quote!(&#self_token #field) };
    quote! {
        #attributes
        #signature {
            <#inner as #path>::#name(#target #(, #arguments)*)
        }
    }
}
