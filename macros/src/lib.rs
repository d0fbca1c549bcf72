//! The `#[proxy]` attribute.

use proc_macro::TokenStream;
use quote::ToTokens;

/// Placeholder: takes the helper attributes off the methods.
#[proc_macro_attribute]
pub fn proxy(_args: TokenStream, input: TokenStream) -> TokenStream {
    let mut item = syn::parse_macro_input!(input as syn::ItemTrait);
    for entry in &mut item.items {
        if let syn::TraitItem::Fn(method) = entry {
            method.attrs.retain(|a| !a.path().is_ident("lane") && !a.path().is_ident("direct"));
        }
    }
    item.into_token_stream().into()
}
