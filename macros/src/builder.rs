//! Writes what the builder of a proxy can do: one setter for each lane and each budget, and those that
//! every builder has.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;

use crate::expand::own_bounds;
use crate::model::Model;
use crate::names::NameEntry;

/// The setters, and `build`.
pub(crate) fn methods(model: &Model) -> TokenStream {
    let Model { visibility, proxy, builder, inner, .. } = model;
    let (attributes, bounds) = (model.attributes.all(), own_bounds(model));
    let lanes = model.lanes.iter().map(|lane| lane_setter(model, lane));
    let budgets = model.budgets.iter().map(|budget| budget_setter(model, budget));
    let documented = ask_inner(model, model.limits, quote!(::lanekeeper::quota::Limits::new()));
    let session = ask_inner(model, model.session, quote!(::core::option::Option::None));
    quote! {
        #attributes
        #[automatically_derived]
        impl<#inner> #builder<#inner> {
            #(#lanes)*
            #(#budgets)*

            /// The quotas of the lanes that are not set one by one.
            #visibility fn limits(mut self, limits: ::lanekeeper::quota::Limits) -> Self {
                self.lanes.limits(limits);
                self
            }

            /// Settings of lanes and budgets by their names, as a configuration file gives them. What
            /// is said later counts.
            #visibility fn config(
                mut self,
                settings: impl ::core::convert::Into<::lanekeeper::proxy::ProxyConfig>,
            ) -> Self {
                self.lanes.config(::core::convert::Into::into(settings));
                self
            }

            /// The clock that the lanes go by. The machine's, unless a test says otherwise.
            #visibility fn clock(
                mut self,
                clock: impl ::core::convert::Into<::lanekeeper::clock::Clock>,
            ) -> Self {
                self.lanes.clock(::core::convert::Into::into(clock));
                self
            }

            /// Who is told of what happens in the lanes.
            #visibility fn observer(
                mut self,
                observer: ::std::sync::Arc<dyn ::lanekeeper::proxy::Observer>,
            ) -> Self {
                self.lanes.observer(observer);
                self
            }

            /// Begins with what another proxy has used of the quotas, as one that this takes the place of:
            /// see `Lanes::pace_snapshot`.
            #visibility fn pace_snapshot(mut self, state: ::lanekeeper::PaceSnapshot) -> Self {
                self.lanes.pace_snapshot(state);
                self
            }

            /// Begins with what is noted there of the calls of earlier processes, and notes each call for the
            /// next one: in a `PaceFile`, for instance.
            #visibility fn pace_log(
                mut self,
                log: impl ::lanekeeper::lane::PaceLog + 'static,
            ) -> Self {
                self.lanes.pace_log(::std::sync::Arc::new(log));
                self
            }

            /// What other processes may have sent until now, as far as nobody has written it down. Anything
            /// in the last minute, if the inner value says that its limits are of an account; else nothing.
            #visibility fn prior_usage(mut self, prior_usage: ::lanekeeper::PriorUsage) -> Self {
                self.lanes.prior_usage(prior_usage);
                self
            }

            /// The session that the calls are made in, if the inner value does not tell it: while it is
            /// expired, the lanes hold their calls.
            #visibility fn session(mut self, session: ::lanekeeper::Session) -> Self {
                self.lanes.session(session);
                self
            }

            /// Starts the lanes.
            ///
            /// # Errors
            ///
            /// If the lanes cannot be run as they are set up: one has no quota, for instance.
            #visibility fn build(
                mut self,
            ) -> ::core::result::Result<#proxy<#inner>, ::lanekeeper::proxy::BuildError>
            where
                #inner: #bounds,
            {
                let documented: ::lanekeeper::quota::Limits = #documented;
                let session: ::core::option::Option<::lanekeeper::Session> = #session;
                self.lanes.session_of_inner(session);
                let lanes = self.lanes.build(documented)?;
                ::core::result::Result::Ok(#proxy {
                    inner: ::std::sync::Arc::new(self.inner),
                    lanes,
                    options: ::core::default::Default::default(),
                })
            }
        }
    }
}

fn lane_setter(model: &Model, lane: &NameEntry) -> TokenStream {
    let (visibility, cfg, index) = (&model.visibility, &lane.cfg, model.lanes.position(&lane.name));
    let setter = lane.setter();
    let about = format!("How the lane `{}` is run; a `Quota` alone will do.", lane.name.unraw());
    quote! {
        #cfg
        #[doc = #about]
        #visibility fn #setter(
            mut self,
            config: impl ::core::convert::Into<::lanekeeper::lane::LaneConfig>,
        ) -> Self {
            self.lanes.lane(#index, ::core::convert::Into::into(config));
            self
        }
    }
}

fn budget_setter(model: &Model, budget: &NameEntry) -> TokenStream {
    let (visibility, cfg) = (&model.visibility, &budget.cfg);
    let (index, setter) = (model.budgets.position(&budget.name), budget.setter());
    let about = format!("The budget `{}`; a `Quota` alone will do.", budget.name.unraw());
    quote! {
        #cfg
        #[doc = #about]
        #visibility fn #setter(
            mut self,
            budget: impl ::core::convert::Into<::lanekeeper::quota::Budget>,
        ) -> Self {
            self.lanes.budget(#index, ::core::convert::Into::into(budget));
            self
        }
    }
}

/// What the inner value tells by the method at this place, or else `none`.
fn ask_inner(model: &Model, at: Option<usize>, none: TokenStream) -> TokenStream {
    let Some(method) = at.and_then(|at| model.methods.get(at)) else { return none };
    let (inner, path, name) = (&model.inner, model.path(), &method.name);
    let span = Span::call_site().located_at(method.return_span);
    let call = quote_spanned!(span=> <#inner as #path>::#name(&self.inner));
    if method.attributes.is_conditional() {
        let condition = method.attributes.condition();
        quote!({
            #[cfg(#condition)]
            { #call }
            #[cfg(not(#condition))]
            { #none }
        })
    } else {
        call
    }
}
