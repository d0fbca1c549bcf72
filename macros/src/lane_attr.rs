//! Reads the arguments of `#[lane(..)]`.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Error, Ident, LitInt, LitStr, Meta, Result, Token};

use crate::cache_attr::CacheKey;
use crate::proxy_attr::comma;

/// Names that a lane or budget cannot have, because every builder or proxy has a method of that name.
const RESERVED_SETTERS: [&str; 15] = [
    "limits",
    "lanes_of",
    "config",
    "clock",
    "observer",
    "session",
    "reported_limits",
    "pace_snapshot",
    "pace_log",
    "prior_usage",
    "response_ttl",
    "response_capacity",
    "build",
    "builder",
    "new",
];

const PRIORITY_RANGE: &str = "a priority is a number from 1 (highest) to 10";
const WEIGHT_RANGE: &str =
    "a weight is a number from 1 to 4294967295: how many calls this one counts as";

/// Whether a call changes something at the broker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    Write,
}

/// The arguments of `#[lane(..)]`.
pub(crate) struct LaneKeys {
    pub(crate) name: Ident,
    pub(crate) effect: Effect,
    /// From 1, which is sent first, to 10.
    pub(crate) priority: u8,
    /// How many calls it counts as.
    pub(crate) weight: u32,
    /// The budgets that the call is charged to, each once.
    pub(crate) budgets: Vec<Ident>,
    /// Whether the lane may retry the call.
    pub(crate) retries: bool,
    /// The route class, which has a circuit breaker of its own.
    pub(crate) route: String,
    /// Whether the call is an exit, which no protection of the lane may refuse.
    pub(crate) exit: bool,
    /// The method of the proxy that returns what the call needs first.
    pub(crate) first: Option<Ident>,
    /// Whether and for how long its answers are kept.
    pub(crate) cache: Option<CacheKey>,
    /// The method of the proxy that returns for how long the answer to a call may be kept.
    pub(crate) cache_for: Option<Ident>,
}

/// The keys after the lane's name that have been read so far.
#[derive(Default)]
struct ParsedKeys {
    effect: Option<Effect>,
    priority: Option<u8>,
    weight: Option<u32>,
    budgets: Vec<Ident>,
    never_retry: Option<()>,
    route: Option<Ident>,
    exit: Option<Ident>,
    first: Option<Ident>,
    cache: Option<(Ident, CacheKey)>,
    cache_for: Option<Ident>,
}

impl LaneKeys {
    /// The middle of the range.
    pub(crate) const DEFAULT_PRIORITY: u8 = 5;
    /// One call counts as one.
    pub(crate) const DEFAULT_WEIGHT: u32 = 1;
    /// The priority of an exit: the highest.
    const URGENT: u8 = 1;

    /// Reads `#[lane(NAME, read|write, ..)]`.
    pub(crate) fn parse(attribute: &Attribute) -> Result<Self> {
        let whole = attribute.path().get_ident().map_or_else(Span::call_site, Ident::span);
        match &attribute.meta {
            Meta::List(list) => {
                let read = |input: ParseStream<'_>| Self::read(input, whole);
                read.parse2(list.tokens.clone())
            }
            Meta::Path(_) | Meta::NameValue(_) => {
                Err(Error::new(whole, "name the lane: #[lane(NAME, read)] or #[lane(NAME, write)]"))
            }
        }
    }

    fn read(input: ParseStream<'_>, whole: Span) -> Result<Self> {
        if input.is_empty() {
            let message = "name the lane: #[lane(NAME, read)] or #[lane(NAME, write)]";
            return Err(Error::new(whole, message));
        }
        if input.peek(LitStr) {
            return Err(input.error("the name of a lane is written without quotes"));
        }
        let name: Ident = input.parse()?;
        if input.is_empty() && parse_effect(&name).is_some() {
            let message = format!("the name of the lane comes first: #[lane(NAME, {name})]");
            return Err(Error::new(name.span(), message));
        }
        check_not_reserved("lane", &name)?;
        comma(input)?;

        let mut parsed = ParsedKeys::default();
        while !input.is_empty() {
            parsed.parse_key(input)?;
            comma(input)?;
        }
        let Some(effect) = parsed.effect else {
            let message = format!(
                "say what the call does: #[lane({name}, read)], or #[lane({name}, write)] if it \
                 changes something"
            );
            return Err(Error::new(name.span(), message));
        };
        if let (Some(exit), Some(_)) = (&parsed.exit, parsed.priority) {
            let message = "an exit is always of priority 1: leave `priority` out";
            return Err(Error::new(exit.span(), message));
        }
        if let (Some(first), Some(())) = (&parsed.first, parsed.never_retry) {
            let message = "a call with `first` may be repeated: leave `retry = never` out";
            return Err(Error::new(first.span(), message));
        }
        if let Some((cache, _)) = &parsed.cache {
            let message = match (effect, parsed.never_retry) {
                (Effect::Write, _) => "only the answers of a `read` can be kept: leave `cache` out",
                (_, Some(())) => "a call with `cache` may be repeated: leave `retry = never` out",
                _ => "",
            };
            if !message.is_empty() {
                return Err(Error::new(cache.span(), message));
            }
        } else if let Some(hook) = &parsed.cache_for {
            let message = "`cache_for` says for how long an answer is kept: write `cache` too, as `cache = off`";
            return Err(Error::new(hook.span(), message));
        }
        let default_priority =
            if parsed.exit.is_some() { Self::URGENT } else { Self::DEFAULT_PRIORITY };
        let default_route = if effect == Effect::Read { "reads" } else { "writes" };
        Ok(Self {
            name,
            effect,
            priority: parsed.priority.unwrap_or(default_priority),
            weight: parsed.weight.unwrap_or(Self::DEFAULT_WEIGHT),
            budgets: parsed.budgets,
            retries: parsed.never_retry.is_none(),
            route: parsed
                .route
                .map_or_else(|| default_route.to_owned(), |route| route.unraw().to_string()),
            exit: parsed.exit.is_some(),
            first: parsed.first,
            cache: parsed.cache.map(|(_, cache)| cache),
            cache_for: parsed.cache_for,
        })
    }
}

impl ParsedKeys {
    /// Reads one key with its value.
    fn parse_key(&mut self, input: ParseStream<'_>) -> Result<()> {
        let key: Ident = input.parse()?;
        if let Some(effect) = parse_effect(&key) {
            return match self.effect.replace(effect) {
                None => Ok(()),
                Some(_) => Err(Error::new(key.span(), "say `read` or `write` once")),
            };
        }
        if key == "exit" {
            return set_once(&mut self.exit, key.clone(), &key);
        }
        if key == "route" {
            let route = parse_name(input, &key, "route = NAME", "a route")?;
            return set_once(&mut self.route, route, &key);
        }
        if key == "first" {
            let first = parse_name(input, &key, "first = METHOD", "a method")?;
            return set_once(&mut self.first, first, &key);
        }
        if key == "cache" {
            parse_equals(input, &key, "cache = \"1h\"")?;
            let cache = CacheKey::parse(input)?;
            return set_once(&mut self.cache, (key.clone(), cache), &key);
        }
        if key == "cache_for" {
            let hook = parse_name(input, &key, "cache_for = METHOD", "a method")?;
            return set_once(&mut self.cache_for, hook, &key);
        }
        if key == "priority" {
            let priority = parse_number(input, &key, "priority = 1", 1..=10, PRIORITY_RANGE)?;
            return set_once(&mut self.priority, priority, &key);
        }
        if key == "weight" {
            let weight = parse_number(input, &key, "weight = 2", 1..=u32::MAX, WEIGHT_RANGE)?;
            return set_once(&mut self.weight, weight, &key);
        }
        if key == "budget" {
            let budget = parse_budget(input, &key)?;
            if self.budgets.contains(&budget) {
                let message = format!(
                    "the budget `{budget}` is named twice: for a call that counts as more than \
                     one, say `weight = 2`"
                );
                return Err(Error::new(budget.span(), message));
            }
            self.budgets.push(budget);
            return Ok(());
        }
        if key == "retry" {
            parse_equals(input, &key, "retry = never")?;
            let span = input.span();
            let never: Option<Ident> = input.parse().ok();
            if never.is_none_or(|never| never != "never") {
                return Err(Error::new(
                    span,
                    "write `retry = never`, or nothing: how a lane sends again is set with \
                     `LaneConfig::retry`",
                ));
            }
            return set_once(&mut self.never_retry, (), &key);
        }
        let message = format!(
            "#[lane] has no key `{key}`; there are the lane's name, `read` or `write`, \
             `priority = 1`, `exit`, `budget = NAME`, `weight = 2`, `route = NAME`, \
             `first = METHOD`, `cache = \"1h\"`, `cache_for = METHOD` and `retry = never`"
        );
        Err(Error::new(key.span(), message))
    }
}

fn parse_effect(key: &Ident) -> Option<Effect> {
    if key == "read" {
        Some(Effect::Read)
    } else if key == "write" {
        Some(Effect::Write)
    } else {
        None
    }
}

/// Checks that the builder has no method called `name` yet.
fn check_not_reserved(what: &str, name: &Ident) -> Result<()> {
    if RESERVED_SETTERS.iter().any(|setter| name == setter) {
        let message = format!(
            "a {what} cannot be called `{name}`: the builder has a method of that name already"
        );
        return Err(Error::new(name.span(), message));
    }
    Ok(())
}

fn set_once<T>(place: &mut Option<T>, value: T, key: &Ident) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(key.span(), format!("`{key}` is said twice"))),
    }
}

/// Reads the `=` after `key`. A value must follow it. `example` shows the key with a value.
fn parse_equals(input: ParseStream<'_>, key: &Ident, example: &str) -> Result<()> {
    if !input.peek(Token![=]) {
        return Err(Error::new(key.span(), format!("`{key}` has a value: `{example}`")));
    }
    let equals: Token![=] = input.parse()?;
    if input.is_empty() {
        // At the end of the list there is no token to point at.
        return Err(Error::new(equals.span, format!("`{key}` has a value: `{example}`")));
    }
    Ok(())
}

/// Reads the value of `key`, a literal in `range`. `about` describes the range for the error.
fn parse_number<T>(
    input: ParseStream<'_>,
    key: &Ident,
    example: &str,
    range: RangeInclusive<T>,
    about: &str,
) -> Result<T>
where
    T: FromStr<Err: Display> + PartialOrd,
{
    parse_equals(input, key, example)?;
    let span = input.span();
    let literal: LitInt = input.parse().map_err(|_| Error::new(span, about))?;
    let number = literal.base10_parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| Error::new(literal.span(), about))
}

fn parse_budget(input: ParseStream<'_>, key: &Ident) -> Result<Ident> {
    let name = parse_name(input, key, "budget = NAME", "a budget")?;
    check_not_reserved("budget", &name)?;
    Ok(name)
}

/// Reads the name after `key`. `what` describes what it names, for the error.
fn parse_name(input: ParseStream<'_>, key: &Ident, example: &str, what: &str) -> Result<Ident> {
    parse_equals(input, key, example)?;
    if input.peek(LitStr) {
        return Err(input.error(format!("the name of {what} is written without quotes")));
    }
    input.parse()
}
