//! What all adapters over HTTP share: sending a request at most once, the class of an error of the transport, the
//! bounds of an answer, and the removal of secrets.
//!
//! Nothing here knows a broker. What an answer *means* is decided by each adapter.

pub(in crate::brokers) mod answer;
pub(in crate::brokers) mod client;
pub(in crate::brokers) mod de;
pub(in crate::brokers) mod outcome;
pub(in crate::brokers) mod secrets;
pub(in crate::brokers) mod settings;
pub(in crate::brokers) mod transport_error;
