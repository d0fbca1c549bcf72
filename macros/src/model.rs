//! The model of a trait: its methods, the lanes and budgets that they name, and the names of the generated types.
//!
//! `read` builds it and collects all errors. The writers (`expand`, `builder`, `submit`, `pointers`, `delegate`) only
//! run if there are none.

use std::collections::HashSet;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    GenericParam, Generics, Ident, ItemTrait, Path, Token, TraitItem, TraitItemType, Visibility,
};

use crate::asynchronous;
use crate::attributes::CarriedAttributes;
use crate::delegate;
use crate::errors::Errors;
use crate::method::{self, Method, MethodKind};
use crate::names::{self, NameList};
use crate::proxy_attr::ProxyKeys;

/// Everything that the code is written from.
pub(crate) struct Model {
    pub(crate) visibility: Visibility,
    pub(crate) attributes: CarriedAttributes,
    pub(crate) name: Ident,
    pub(crate) proxy: Ident,
    pub(crate) builder: Ident,
    pub(crate) submit: Ident,
    /// The type parameter for the inner value: `T`, unless the trait uses that name.
    pub(crate) inner: Ident,
    pub(crate) generics: Generics,
    /// The bounds that `Self` must meet.
    pub(crate) supertraits: TokenStream,
    pub(crate) types: Vec<(Ident, CarriedAttributes)>,
    pub(crate) methods: Vec<Method>,
    pub(crate) lanes: NameList,
    pub(crate) budgets: NameList,
    /// The index in `methods` of the one that returns the documented limits.
    pub(crate) limits: Option<usize>,
    /// The index of the one that returns the session.
    pub(crate) session: Option<usize>,
    /// The index of the one that returns where the broker's own count is reported.
    pub(crate) reported: Option<usize>,
    /// The path of the macro that forwards the methods, if one is to be written.
    pub(crate) delegate: Option<Path>,
    /// The asynchronous form of the trait, if one is to be written.
    pub(crate) asynchronous: TokenStream,
}

/// Reads the trait. The trait is returned without the helper attributes even if it has errors. Without the trait, rustc
/// would report many more.
pub(crate) fn read(args: TokenStream, mut item: ItemTrait) -> (ItemTrait, syn::Result<Model>) {
    let mut errors = Errors::default();
    let keys = errors.ok(ProxyKeys::parse(args)).unwrap_or_default();
    let carried = errors.ok(CarriedAttributes::read(&item.attrs)).unwrap_or_default();
    let whole = keys.asynchronous.is_some().then(|| item.clone());
    check_trait(&item, &keys, &mut errors);

    let mut methods = Vec::new();
    let mut types = Vec::new();
    for entry in &mut item.items {
        match entry {
            TraitItem::Fn(method) => methods.extend(method::read(method, &mut errors)),
            TraitItem::Type(ty) => types.extend(associated_type(ty, &mut errors)),
            TraitItem::Const(item) => errors.at(
                item.ident.span(),
                "a constant keeps a trait from being used as `dyn`: make it a #[direct] method",
            ),
            TraitItem::Macro(item) => errors.at(
                item.mac.path.span(),
                "#[proxy] cannot see which methods a macro writes: write them out",
            ),
            other => errors.at(other.span(), "#[proxy] does not understand this"),
        }
    }
    let lanes = NameList::from_lanes("__LkLane", &methods);
    let budgets = NameList::from_budgets("__LkBudget", &methods);
    names::check_disjoint(&lanes, &budgets, &mut errors);
    names::check_getters(&lanes, &methods, &mut errors);
    let mut getter = |name: Option<Ident>, what: &str| {
        let name = name?;
        let found = methods.iter().position(|method| method.name == name);
        if !found.is_some_and(|at| is_plain_getter(&methods[at])) {
            let message = format!(
                "name a method of this trait that takes `&self` alone, has no lane, and returns {what}"
            );
            errors.at(name.span(), message);
        }
        found
    };
    let limits = getter(keys.limits.clone(), "the `Limits`");
    let session = getter(keys.session.clone(), "an `Option<Session>`");
    let reported = getter(keys.reported.clone(), "an `Option<ReportedLimits>`");

    let form = whole.zip(keys.asynchronous.as_ref()).map(|(whole, name)| {
        asynchronous::check(name, &whole, &methods, &mut errors);
        asynchronous::form(&whole, &methods, &keys, name, &mut errors)
    });
    if let Some(path) = &keys.delegate {
        errors.ok(delegate::check(path, &item));
        if methods.iter().any(|method| method.attributes.is_conditional()) {
            let message = "`delegate` is for a trait whose methods have no #[cfg]: the macro is used in other \
                           crates, whose features are others";
            errors.add(syn::Error::new_spanned(path, message));
        }
    }

    let name = item.ident.clone();
    let made = |suffix: &str| {
        // Lints see a name of the macro. Its location is that of the trait.
        let span = Span::call_site().located_at(name.span());
        format_ident!("{}{suffix}", name, span = span)
    };
    let (supertraits, bounds) = (&item.supertraits, &item.generics.where_clause);
    let bounds = bounds.iter().flat_map(|clause| &clause.predicates);
    let own = (!supertraits.is_empty()).then(|| quote!(Self: #supertraits,));
    let model = Model {
        visibility: visibility(&item.vis),
        attributes: carried,
        proxy: made("Proxy"),
        builder: made("ProxyBuilder"),
        submit: made("Submit"),
        inner: unused_parameter_name(&item),
        generics: item.generics.clone(),
        supertraits: quote!(#own #(#bounds,)*),
        types,
        methods,
        lanes,
        budgets,
        limits,
        session,
        reported,
        delegate: keys.delegate,
        asynchronous: form.unwrap_or_default(),
        name,
    };
    (item, errors.finish(model))
}

fn check_trait(item: &ItemTrait, keys: &ProxyKeys, errors: &mut Errors) {
    if let Some(token) = &item.unsafety {
        errors.at(
            token.span(),
            "a proxy cannot keep the promises of an `unsafe trait`: write a safe one",
        );
    }
    let is_later = |attribute: &&syn::Attribute| {
        attribute.path().segments.last().is_some_and(|last| last.ident == "async_trait")
    };
    if let Some(attribute) = item.attrs.iter().find(is_later) {
        let message = "put #[async_trait] above #[lanekeeper::proxy], which reads what it writes";
        errors.add(syn::Error::new_spanned(attribute, message));
    }
    for parameter in &item.generics.params {
        if let GenericParam::Lifetime(lifetime) = parameter {
            errors.at(
                lifetime.span(),
                "a lane's thread outlives any lifetime: let the trait take owned types",
            );
        }
    }
    let getters = [
        (&keys.limits, "limits", "are", "them"),
        (&keys.session, "session", "is", "it"),
        (&keys.reported, "reported_limits", "are", "them"),
    ];
    for (key, what, are, them) in getters {
        if let (Some(method), false) = (key, item.generics.params.is_empty()) {
            let message = format!(
                "the builder of a generic trait does not know whose {what} {are} meant: hand {them} to the \
                 builder's `{what}`"
            );
            errors.at(method.span(), message);
        }
    }
}

fn associated_type(ty: &TraitItemType, errors: &mut Errors) -> Option<(Ident, CarriedAttributes)> {
    if !ty.generics.params.is_empty() {
        errors.at(
            ty.generics.span(),
            "an associated type with parameters keeps a trait from being used as `dyn`",
        );
    }
    Some((ty.ident.clone(), errors.ok(CarriedAttributes::read(&ty.attrs))?))
}

/// Returns whether the builder can call the method on the inner value.
fn is_plain_getter(method: &Method) -> bool {
    !matches!(method.kind, MethodKind::Lane(_))
        && method.arguments.is_empty()
        && method.future.is_none()
}

/// Returns the trait's visibility with a span of the macro. So the lint for an unreachable `pub` is reported for the
/// trait, but not for each setter.
pub(crate) fn visibility(of_trait: &Visibility) -> Visibility {
    match of_trait {
        Visibility::Public(token) => {
            Visibility::Public(Token![pub](Span::call_site().located_at(token.span)))
        }
        other => other.clone(),
    }
}

/// Returns whether the trait has parameters or associated types.
pub(crate) fn has_parameters(item: &ItemTrait) -> bool {
    let has_types = item.items.iter().any(|entry| matches!(entry, TraitItem::Type(_)));
    !item.generics.params.is_empty() || has_types
}

/// Returns a name for a type parameter that the trait does not use.
pub(crate) fn unused_parameter_name(item: &ItemTrait) -> Ident {
    let mut used = HashSet::new();
    collect_idents(item.to_token_stream(), &mut used);
    let mut name = String::from("T");
    while used.contains(&name) {
        name = if name == "T" { String::from("Inner") } else { name + "_" };
    }
    format_ident!("{name}")
}

/// Adds all words of `tokens`, without the `r#` of raw ones.
pub(crate) fn collect_idents(tokens: TokenStream, used: &mut HashSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => collect_idents(group.stream(), used),
            TokenTree::Ident(word) => {
                used.insert(word.unraw().to_string());
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

impl Model {
    /// Returns whether any call can be submitted for a ticket. One that its caller's task makes cannot.
    pub(crate) fn has_tickets(&self) -> bool {
        let mut laned = self
            .methods
            .iter()
            .filter(|method| matches!(method.kind, MethodKind::Lane(_)))
            .peekable();
        laned.peek().is_none() || laned.any(|method| method.future.is_none())
    }

    /// Returns the trait with its parameters, as in `Store<K, V>`.
    pub(crate) fn path(&self) -> TokenStream {
        let (name, (_, generics, _)) = (&self.name, self.generics.split_for_impl());
        quote!(#name #generics)
    }

    /// Returns the parameters of an `impl` of the trait, after `first` if that is not empty.
    pub(crate) fn parameters(&self, first: &TokenStream) -> TokenStream {
        let mut generics = self.generics.clone();
        // An `impl` cannot have defaults.
        for own in &mut generics.params {
            match own {
                GenericParam::Type(own) => own.default = None,
                GenericParam::Const(own) => own.default = None,
                GenericParam::Lifetime(_) => {}
            }
        }
        let own = generics.params.iter();
        let first = (!first.is_empty()).then(|| quote!(#first,));
        quote!(<#first #(#own),*>)
    }
}
