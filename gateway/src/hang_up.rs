//! Whether a client is still there: told by its connection, and known by its socket before that.

use tokio::sync::watch;

use crate::socket::SocketProbe;

/// Resolves when the client has hung up.
#[derive(Clone)]
pub(crate) struct HangUp {
    gone: watch::Receiver<()>,
    /// Knows of a hang-up before the runtime does. `None` if no single client is meant.
    socket: Option<SocketProbe>,
}

impl HangUp {
    /// Returns a pair. The client is gone when the first is dropped.
    pub(crate) fn new() -> (watch::Sender<()>, Self) {
        let (here, gone) = watch::channel(());
        (here, Self { gone, socket: None })
    }

    /// Returns a pair for the client at a socket.
    pub(crate) fn of_socket(socket: SocketProbe) -> (watch::Sender<()>, Self) {
        let (here, hang_up) = Self::new();
        (here, Self { socket: Some(socket), ..hang_up })
    }

    /// Returns what knows whether the client is there when its request has ended.
    pub(crate) fn into_socket(self) -> Option<SocketProbe> {
        self.socket
    }

    /// Waits until the client hangs up.
    pub(crate) async fn wait(&mut self) {
        while self.gone.changed().await.is_ok() {}
    }

    /// Returns whether the client is on this machine, or has left.
    pub(crate) fn is_local(&self) -> bool {
        self.socket.as_ref().is_none_or(SocketProbe::is_local)
    }

    /// Returns whether the client has hung up.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.has_changed().is_err() || self.socket.as_ref().is_some_and(SocketProbe::is_closed)
    }
}
