//! Connections to brokers: what the consumer, the producer and the admin client are built on.
//!
//! ```text
//!  any runtime          │ the client's own thread (Driver)
//!                       │
//!  Consumer, Producer, ─┼─► Driver::run(future) ─► Cluster ─► Pool ─► BrokerConnection ─► broker
//!  Admin                │                          metadata   (node, purpose)  one task each
//! ```
//!
//! - [`Driver`]: each client owns one thread with a current-thread runtime. Everything that talks
//!   to a broker lives there, so neither a slow handler nor a blocked runtime of the application
//!   stops a heartbeat. `driver.run(future).await` may be awaited in any runtime; dropping it
//!   cancels the work.
//! - [`Pool`]: one connection for each node and [`Purpose`], opened when asked for, with back-off
//!   and jitter after a failure. A fetch that waits at the broker holds up only other fetches.
//! - [`BrokerConnection`]: pipelined requests over one socket. Versions are agreed on when it
//!   opens; a request that gets no answer in time closes it and fails everything in flight, as do
//!   a half-closed socket and an answer that makes no sense.
//! - [`crate::cluster::Cluster`] chooses nodes and keeps the metadata.
//!
//! ```no_run
//! # async fn f(cluster: kohort::cluster::Cluster) -> Result<(), Box<dyn std::error::Error>> {
//! use kohort::net::Purpose;
//! use kohort_protocol::messages::heartbeat::HeartbeatRequest;
//!
//! let connection = cluster.connection(1, Purpose::Coordinator).await?;
//! let version = connection.version::<HeartbeatRequest>()?; // the highest both sides know
//! let answer = connection.send(&HeartbeatRequest::default()).await?;
//! # Ok(()) }
//! ```
//!
//! [`security`] secures what is opened, and says in words what to do when that fails.

mod answer;
mod api_versions;
mod connection;
mod driver;
mod error;
mod frames;
mod handshake;
mod pool;
mod processor;
pub mod security;
pub mod stream;
mod timers;

pub use api_versions::ApiVersions;
pub use connection::{BrokerConnection, ConnectionOptions, InFlight, Throttled, Throttles};
pub use driver::Driver;
pub use error::{AuthenticationFailure, NetError};
pub use frames::FramePool;
pub(crate) use frames::KEPT_BYTES;
pub use kohort_client_core::backoff::Backoff;
pub use kohort_client_core::sasl::{OAuthToken, SaslError};
pub use kohort_protocol::{
    DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind, Message, Request,
};
pub use pool::{Pool, Purpose};
pub(crate) use processor::{Follower, Whereabouts, unbound};
pub use security::{Security, TlsFailure, TokenError, TokenProvider, UnsecuredTokens};
pub(crate) use timers::after;
