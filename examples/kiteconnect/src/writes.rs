//! Sends writes.
//!
//! The client follows redirects, and has no switch for it. A redirected order is sent again behind the back of its
//! lane, or another page answers for it, whose refusal then proves nothing about the order. So the client builds the
//! request of a write (`Call::request`), and it is sent here, once, to this address and no other. Reads are sent by the
//! client itself.

use std::time::Duration;

use kiteconnect::error::{ApiError, ErrorKind};
use kiteconnect::{Body, Call, Error, KiteConnect};
use lanekeeper::Effect;
use lanekeeper::broker::{BrokerError, ErrorDetail};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::errors::{broker_error, text};

pub(crate) struct WriteClient {
    http: reqwest::Client,
    base_url: String,
}

impl WriteClient {
    pub(crate) fn new(base_url: &str, timeout: Duration) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .redirect(Policy::none())
            .timeout(timeout)
            .connect_timeout(Duration::from_secs(10))
            .build()?;
        Ok(Self { http, base_url: base_url.trim_end_matches('/').to_owned() })
    }

    /// Sends `call` once, with the credentials of `client`.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        client: &KiteConnect,
        call: &Call<T>,
    ) -> Result<T, BrokerError> {
        let unknown = |error: Error| broker_error(Effect::Write, &error);
        let request = self.request(client, call).map_err(unknown)?;
        let answer = match request.send().await {
            Ok(answer) => answer,
            // No connection was made, and without redirects there was no other one before it.
            Err(error) if error.is_connect() => {
                let error = Error::Transport(Box::new(error.without_url()));
                return Err(BrokerError::NotSent(ErrorDetail::new(text(&error))));
            }
            Err(error) => return Err(unknown(Error::Transport(Box::new(error.without_url())))),
        };
        let status = answer.status().as_u16();
        if answer.headers().contains_key("cf-mitigated") {
            return Err(unknown(Error::Blocked { status, ray: None }));
        }
        let body = answer.bytes().await;
        let body =
            body.map_err(|error| unknown(Error::Transport(Box::new(error.without_url()))))?;
        decode(status, call.request().path(), &body).map_err(unknown)
    }

    fn request<T>(
        &self,
        client: &KiteConnect,
        call: &Call<T>,
    ) -> Result<reqwest::RequestBuilder, Error> {
        let request = call.request();
        let token = client.access_token().ok_or(Error::NoAccessToken)?;
        let credentials = format!("token {}:{}", client.api_key(), token.expose());
        let mut credentials = HeaderValue::from_str(&credentials)
            .map_err(|_| Error::InvalidInput("invalid api_key or access_token"))?;
        credentials.set_sensitive(true);
        let url = format!("{}{}", self.base_url, request.path());
        let http = self.http.request(request.method().clone(), url);
        let http = http.query(request.query_pairs()).header(AUTHORIZATION, credentials);
        let http = http.header("X-Kite-Version", "3");
        match request.body() {
            Body::None => Ok(http),
            Body::Form(form) => Ok(http.form(form)),
            Body::Json(value) => Ok(http.json(value)),
            _ => Err(Error::InvalidInput("a body of an unknown kind")),
        }
    }
}

/// What every answer of Kite is wrapped in.
#[derive(Deserialize)]
struct Envelope {
    status: String,
    #[serde(default)]
    data: Value,
    message: Option<String>,
    error_type: Option<String>,
}

/// Decodes an answer, with the errors that the client would return.
fn decode<T: DeserializeOwned>(status: u16, path: &str, body: &[u8]) -> Result<T, Error> {
    let succeeded = (200..300).contains(&status);
    let path = path.to_owned();
    let unreadable = |source| Error::Decode { path: path.clone(), source };
    match serde_json::from_slice::<Envelope>(body) {
        Ok(Envelope { status, data, .. }) if succeeded && status == "success" => {
            serde_json::from_value(data).map_err(unreadable)
        }
        Ok(Envelope { data, message, error_type, .. }) => {
            let kind = ErrorKind::from(error_type.as_deref().unwrap_or("Unknown"));
            Err(ApiError::new(kind, message.unwrap_or_default(), status, Some(data)).into())
        }
        Err(source) if succeeded => Err(unreadable(source)),
        Err(_) => Err(Error::Http { status, path }),
    }
}
