//! Connections to brokers: why one failed, and the machinery below the clients.
//!
//! For applications:
//! - [`NetError`], which every other error comes down to when a broker cannot be reached, with
//!   [`AuthenticationFailure`], [`TlsFailure`] and what is wrong with the bytes of an answer.
//! - [`TokenProvider`], by which an application brings OAUTHBEARER its own tokens; [`UnsecuredTokens`] for tests.
//! - [`Throttled`], what a quota has cost a client.
//!
//! The rest is public for this repository's own tests and tools, is left out of this page, and may change in any
//! version:
//!
//! ```text
//!  any runtime          │ the client's own thread (Driver)
//!                       │
//!  Consumer, Producer, ─┼─► Driver::run(future) ─► Cluster ─► Pool ─► BrokerConnection ─► broker
//!  Admin                │                          metadata   (node, purpose)  one task each
//! ```
//!
//! - `Driver`: each client owns one thread with a current-thread runtime. Everything that talks
//!   to a broker lives there, so neither a slow handler nor a blocked runtime of the application
//!   stops a heartbeat. `driver.run(future).await` may be awaited in any runtime; dropping it
//!   cancels the work.
//! - `Pool`: one connection for each node and `Purpose`, opened when asked for, with back-off
//!   and jitter after a failure. A fetch that waits at the broker holds up only other fetches.
//! - `BrokerConnection`: pipelined requests over one socket. Versions are agreed on when it
//!   opens; a request that gets no answer in time closes it and fails everything in flight, as do
//!   a half-closed socket and an answer that makes no sense.
//! - `Cluster`, in [`crate::cluster`], chooses nodes and keeps the metadata.
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

#![warn(clippy::missing_errors_doc)]

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
#[doc(hidden)]
pub mod stream;
mod timers;

#[doc(hidden)]
pub use api_versions::ApiVersions;
pub use connection::Throttled;
#[doc(hidden)]
pub use connection::{BrokerConnection, ConnectionOptions, InFlight, Throttles};
#[doc(hidden)]
pub use driver::Driver;
pub use error::{AuthenticationFailure, NetError};
#[doc(hidden)]
pub use frames::FramePool;
pub(crate) use frames::KEPT_BYTES;
#[doc(hidden)]
pub use kohort_client_core::backoff::Backoff;
pub use kohort_client_core::sasl::{OAuthToken, SaslError};
pub use kohort_protocol::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};
#[doc(hidden)]
pub use kohort_protocol::{Message, Request};
#[doc(hidden)]
pub use pool::{Pool, Purpose};
pub(crate) use processor::{Follower, Whereabouts, unbound};
#[doc(hidden)]
pub use security::Security;
pub use security::{TlsFailure, TokenError, TokenProvider, UnsecuredTokens};
pub(crate) use timers::after;
