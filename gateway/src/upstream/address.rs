//! Where an upstream is, and how it is connected to: TCP, with TLS for `https`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper::header::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::socket::{Socket, SocketProbe};

/// The address of an API: a scheme, a host and a port.
#[derive(Clone)]
pub(crate) struct UpstreamAddress {
    url: String,
    host: String,
    port: u16,
    host_header: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why a text is not the address of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the upstream {url:?} cannot be used: {why}")]
pub struct AddressError {
    url: String,
    why: &'static str,
}

impl UpstreamAddress {
    /// Reads `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    pub(crate) fn parse(url: &str) -> Result<Self, AddressError> {
        // A part before `@` may be a secret.
        let shown = url.rsplit_once('@').map_or(url, |(_, host)| host);
        let error = |why| AddressError { url: shown.to_owned(), why };
        let uri: Uri = url.parse().map_err(|_| error("it is no URL"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(error("write it as https://HOST"));
        };
        if authority.as_str().contains('@') {
            return Err(error("it must not have a user or a password"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(error("it must not have a path, since paths are passed on as they are"));
        }
        let (default_port, is_tls) = match scheme {
            "http" => (80, false),
            "https" => (443, true),
            _ => return Err(error("its scheme must be http or https")),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(error("it has no host"));
        }
        let tls = if is_tls {
            let name = ServerName::try_from(host.clone());
            let name = name.map_err(|_| error("its host is no name that TLS can check"))?;
            Some((tls_connector().ok_or_else(|| error("TLS cannot be set up"))?, name))
        } else {
            None
        };
        let host_header = HeaderValue::from_str(authority.as_str());
        Ok(Self {
            url: format!("{scheme}://{authority}"),
            port: authority.port_u16().unwrap_or(default_port),
            host_header: host_header.map_err(|_| error("its host cannot be sent"))?,
            host,
            tls,
        })
    }

    /// Returns it as a URL without a slash at its end.
    pub(crate) fn as_str(&self) -> &str {
        &self.url
    }

    pub(crate) fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }

    pub(crate) async fn connect(&self) -> io::Result<(UpstreamStream, SocketProbe)> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        // A small request must not wait for the next packet.
        tcp.set_nodelay(true)?;
        let socket = Socket::new(tcp);
        let probe = socket.probe();
        match &self.tls {
            None => Ok((UpstreamStream::Plain(socket), probe)),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), socket).await?;
                Ok((UpstreamStream::Tls(Box::new(stream)), probe))
            }
        }
    }
}

fn tls_connector() -> Option<TlsConnector> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Some(TlsConnector::from(Arc::new(config)))
}

/// A connection to an upstream.
pub(crate) enum UpstreamStream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::UpstreamAddress;

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port() {
        for (url, expected) in [
            ("https://api.kite.trade", "https://api.kite.trade"),
            ("https://api.kite.trade/", "https://api.kite.trade"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(UpstreamAddress::parse(url).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_secret() {
        for url in [
            "",
            "/",
            "api.kite.trade",
            "ftp://a",
            "https://",
            "https://a/b",
            "https://a?b",
            "https://user:secret@a",
            "http://a b",
        ] {
            let error = UpstreamAddress::parse(url).err().expect(url).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
