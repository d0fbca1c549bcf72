//! The settings of a connection that every adapter checks before its first call: the address, the timeouts and the
//! name of the client.

use std::net::IpAddr;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderValue, Uri};

/// Upper bound of the timeouts. No caller waits longer for one call, and ureq panics on a deadline beyond the range
/// of its clock.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// One for each call in flight of busy lanes. ureq keeps 3 per host by default, and would need a handshake for most
/// calls of a burst.
const MAX_IDLE_CONNECTIONS: usize = 32;
/// ureq's default, written down because it matters: the peer, or a device in between, may have dropped an older idle
/// connection.
const MAX_IDLE_AGE: Duration = Duration::from_secs(15);

/// Why a setting cannot be used. Each adapter converts it into its own public error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::brokers) enum InvalidSetting {
    NotHeaderText(&'static str),
    BaseUrl(&'static str),
    PlainHttp { host: String },
    Zero(&'static str),
    TooLong(&'static str),
}

/// The settings of a connection pool.
pub(in crate::brokers) struct ConnectionSettings<'a> {
    pub(in crate::brokers) timeout: Duration,
    pub(in crate::brokers) connect_timeout: Duration,
    pub(in crate::brokers) user_agent: &'a str,
    /// Whether all addresses are of this machine.
    pub(in crate::brokers) on_this_machine: bool,
}

impl ConnectionSettings<'_> {
    /// Returns a client that follows no redirect, and that returns an answer with any status.
    pub(in crate::brokers) fn agent(&self) -> Result<Agent, InvalidSetting> {
        // ureq panics on a name that is not a valid header value.
        if HeaderValue::from_str(self.user_agent).is_err() || !self.user_agent.is_ascii() {
            return Err(InvalidSetting::NotHeaderText("user_agent"));
        }
        for (name, timeout) in
            [("timeout", self.timeout), ("connect_timeout", self.connect_timeout)]
        {
            if timeout.is_zero() {
                return Err(InvalidSetting::Zero(name));
            }
            if timeout > MAX_TIMEOUT {
                return Err(InvalidSetting::TooLong(name));
            }
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(self.connect_timeout))
            .timeout_resolve(Some(self.connect_timeout))
            .timeout_global(Some(self.timeout))
            .max_idle_connections(MAX_IDLE_CONNECTIONS)
            .max_idle_connections_per_host(MAX_IDLE_CONNECTIONS)
            .max_idle_age(MAX_IDLE_AGE)
            .user_agent(self.user_agent);
        if self.on_this_machine {
            // A proxy from the environment cannot reach this machine's loopback.
            config = config.proxy(None);
        }
        Ok(config.build().new_agent())
    }
}

/// Returns the base URL without a trailing slash, and whether it points to this machine.
pub(in crate::brokers) fn parse_base_url(
    url: &str,
    allow_plain_http: bool,
) -> Result<(String, bool), InvalidSetting> {
    let text = url.trim_end_matches('/');
    let Ok(uri) = text.parse::<Uri>() else {
        return Err(InvalidSetting::BaseUrl("it is no URL"));
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(InvalidSetting::BaseUrl(
            "write it as https://host, or as http://127.0.0.1:8080 for an exchange on this machine",
        ));
    };
    if scheme != "http" && scheme != "https" {
        return Err(InvalidSetting::BaseUrl("its scheme is neither https nor http"));
    }
    if authority.as_str().contains('@') {
        return Err(InvalidSetting::BaseUrl("it holds a user name or a password"));
    }
    if authority.host().is_empty() {
        return Err(InvalidSetting::BaseUrl("it has no host"));
    }
    if uri.query().is_some() || text.contains('#') {
        return Err(InvalidSetting::BaseUrl("it holds more than a host and a path"));
    }
    let on_this_machine = is_loopback(authority.host());
    if scheme == "http" && !on_this_machine && !allow_plain_http {
        return Err(InvalidSetting::PlainHttp { host: authority.host().to_owned() });
    }
    Ok((text.to_owned(), on_this_machine))
}

pub(in crate::brokers) fn is_visible_ascii(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
