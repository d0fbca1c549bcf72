//! Writes the methods of a proxy's builder: one setter for each lane and each budget, the setters that
//! every builder has, and `build`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;

use crate::expand::own_bounds;
use crate::model::Model;
use crate::names::NameEntry;

/// Returns the setters and `build`.
pub(crate) fn methods(model: &Model) -> TokenStream {
    let Model { visibility, proxy, builder, inner, .. } = model;
    let (attributes, bounds) = (model.attributes.all(), own_bounds(model));
    let lanes = model.lanes.iter().map(|lane| lane_setter(model, lane));
    let budgets = model.budgets.iter().map(|budget| budget_setter(model, budget));
    let documented = call_getter(model, model.limits, quote!(::lanekeeper::quota::Limits::new()));
    let session = call_getter(model, model.session, quote!(::core::option::Option::None));
    let reported = call_getter(model, model.reported, quote!(::core::option::Option::None));
    quote! {
        #attributes
        #[automatically_derived]
        impl<#inner> #builder<#inner> {
            #(#lanes)*
            #(#budgets)*

            /// Sets the quotas of the lanes and budgets that are not set one by one.
            #visibility fn limits(mut self, limits: ::lanekeeper::quota::Limits) -> Self {
                self.lanes.limits(limits);
                self
            }

            /// Changes lanes and budgets by name, for example from a configuration file. A later setting replaces
            /// an earlier one.
            #visibility fn config(
                mut self,
                config: impl ::core::convert::Into<::lanekeeper::proxy::ProxyConfig>,
            ) -> Self {
                self.lanes.config(::core::convert::Into::into(config));
                self
            }

            /// Sets the clock of the lanes. The default is the system clock.
            #visibility fn clock(
                mut self,
                clock: impl ::core::convert::Into<::lanekeeper::clock::Clock>,
            ) -> Self {
                self.lanes.clock(::core::convert::Into::into(clock));
                self
            }

            /// Sets the observer, which is notified of the events in the lanes.
            #visibility fn observer(
                mut self,
                observer: ::std::sync::Arc<dyn ::lanekeeper::Observer>,
            ) -> Self {
                self.lanes.observer(observer);
                self
            }

            /// Starts with what another proxy has used of the quotas, for example one that this proxy replaces.
            /// See `Lanes::pace_snapshot`.
            #visibility fn pace_snapshot(mut self, snapshot: ::lanekeeper::PaceSnapshot) -> Self {
                self.lanes.pace_snapshot(snapshot);
                self
            }

            /// Starts with the calls of earlier processes that are recorded in `log`, and records each call for the
            /// next process. A `PaceFile` is such a log.
            #visibility fn pace_log(
                mut self,
                log: impl ::lanekeeper::lane::PaceLog + 'static,
            ) -> Self {
                self.lanes.pace_log(::std::sync::Arc::new(log));
                self
            }

            /// Sets what other processes may have sent until now without a record of it. The default is anything in
            /// the last minute if the limits of the inner value apply to a shared account, and nothing otherwise.
            #visibility fn prior_usage(mut self, prior_usage: ::lanekeeper::PriorUsage) -> Self {
                self.lanes.prior_usage(prior_usage);
                self
            }

            /// Sets the session that the calls are made in, in place of the inner value's. While it is
            /// expired, the lanes hold their calls.
            #visibility fn session(mut self, session: ::lanekeeper::Session) -> Self {
                self.lanes.session(session);
                self
            }

            /// Sets where the inner value reports the broker's own count of the calls, in place of what the inner value
            /// names.
            #visibility fn reported_limits(mut self, reported: ::lanekeeper::ReportedLimits) -> Self {
                self.lanes.reported_limits(reported);
                self
            }

            ::lanekeeper::__with_redis! {{
                /// Shares the quotas of the lanes and budgets with the other processes of an account. Every process gives
                /// the same account and the same limits.
                #visibility fn shared(mut self, shared: ::lanekeeper::SharedQuota) -> Self {
                    self.lanes.shared(shared);
                    self
                }
            }}

            /// Uses the lanes of another proxy in place of new ones, with their quotas, budgets, clock, observer and
            /// session. A lane or a budget of this trait uses that of the same name. Nothing else can be set then.
            ///
            /// The lanes run until each proxy that shares them is shut down or dropped.
            #visibility fn lanes_of(
                mut self,
                other: &(impl ::lanekeeper::proxy::HasLanes + ?::core::marker::Sized),
            ) -> Self {
                let lanes = ::lanekeeper::proxy::HasLanes::lanes(other);
                self.lanes.lanes_of(::core::clone::Clone::clone(lanes));
                self
            }

            /// Starts the lanes, unless they are those of another proxy.
            ///
            /// # Errors
            ///
            /// A lane cannot run with its settings, for example because it has no quota; or the proxy of
            /// `lanes_of` has no lane or budget of that name.
            #visibility fn build(
                mut self,
            ) -> ::core::result::Result<#proxy<#inner>, ::lanekeeper::proxy::BuildError>
            where
                #inner: #bounds,
            {
                let documented: ::lanekeeper::quota::Limits = #documented;
                let session: ::core::option::Option<::lanekeeper::Session> = #session;
                self.lanes.session_of_inner(session);
                let reported: ::core::option::Option<::lanekeeper::ReportedLimits> = #reported;
                self.lanes.reported_limits_of_inner(reported);
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
    let about = format!(
        "Sets the lane `{}`. A `Quota` alone is enough. What is left unset stays as it is.",
        lane.name.unraw()
    );
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
    let about =
        format!("Sets the budget `{}` as a whole. A `Quota` alone is enough.", budget.name.unraw());
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

/// Returns the expression that calls the inner value's method at this index, or `none` if there is no such method.
fn call_getter(model: &Model, at: Option<usize>, none: TokenStream) -> TokenStream {
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
