//! Starts `alpaca-mock` in this process. Its program takes prices from Alpaca's own servers; here it has fixed ones.

use alpaca_mock::{InstrumentSnapshot, MockServerState, TestServer, spawn_test_server_with_state};
use tokio::runtime::Runtime;

/// A running server, until it is dropped.
pub struct Mock {
    server: TestServer,
    _runtime: Runtime,
}

impl Mock {
    /// Starts a server at which AAPL is bid at 189.90 and offered at 190.10, in units of a hundredth.
    ///
    /// # Errors
    /// The system has no threads for it.
    pub fn start() -> std::io::Result<Self> {
        let runtime = Runtime::new()?;
        let aapl = InstrumentSnapshot::equity(18_990_i64.into(), 19_010_i64.into());
        let state = MockServerState::new().with_market_snapshot("AAPL", aapl);
        let server = runtime.block_on(spawn_test_server_with_state(state));
        Ok(Self { server, _runtime: runtime })
    }

    /// Returns its address.
    pub fn url(&self) -> &str {
        &self.server.base_url
    }
}
