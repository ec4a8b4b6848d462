//! What a handler is given besides the request, and what it gives back.

use crate::caller::Caller;
use crate::outgoing::Piece;
use crate::shard_task::PendingAnswer;
use bytes::Bytes;
use kohort_coordinator::GroupResponse;
use kohort_protocol::frame::{encode_response, framed};
use kohort_protocol::header::encode_response_header;
use kohort_protocol::{ApiKey, EncodeError, ErrorCode, Message};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;
use tokio::task::spawn_blocking;

/// Who asks, in which version, and how the answer finds its way back.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// The API asked for.
    pub(crate) api_key: ApiKey,
    /// The version the request was written in and the response will be.
    pub(crate) version: i16,
    /// What the response repeats.
    pub(crate) correlation_id: i32,
    /// What the client calls itself.
    pub(crate) client_id: Option<Arc<str>>,
    /// Which connection it came over.
    pub(crate) caller: Arc<Caller>,
}

impl Context {
    /// Returns the client's address as Kafka writes it in group descriptions.
    pub(crate) fn client_host(&self) -> Arc<str> {
        self.caller.known().map(|known| Arc::clone(&known.host)).unwrap_or_default()
    }

    /// Answers with `response` now.
    pub(crate) fn answer<M: Message>(&self, response: &M) -> Answer {
        Answer::Ready(self.encode(response))
    }

    /// Answers with what `future` will return.
    pub(crate) fn answer_later<M: Message>(
        self,
        future: impl Future<Output = M> + Send + 'static,
    ) -> Answer {
        Answer::Later(Box::pin(async move {
            let response = future.await;
            self.encode(&response)
        }))
    }

    /// Answers with what `build` returns, on a thread that other connections do not need: for answers
    /// that may be long.
    pub(crate) fn answer_aside<M: Message>(
        self,
        build: impl FnOnce() -> M + Send + 'static,
    ) -> Answer {
        Answer::Later(Box::pin(async move {
            let key = self.api_key;
            match spawn_blocking(move || self.encode(&build())).await {
                Ok(response) => response,
                Err(error) => Response::Broken(format!("a {key:?} failed: {error}")),
            }
        }))
    }

    /// Writes a response as its whole frame.
    pub(crate) fn encode<M: Message>(&self, response: &M) -> Response {
        match encode_response(response, self.version, self.correlation_id) {
            Ok(frame) => Response::Frame(frame).telling(response.errors()),
            Err(error) => self.broken(&error),
        }
    }

    /// Writes the response of a group's shard, or of several. A shard that ends answers all it was given;
    /// one that does not has panicked, and what it was doing is not known.
    pub(crate) fn encode_of_shard(&self, response: Option<&GroupResponse>) -> Response {
        let key = self.api_key;
        let Some(response) = response else {
            return Response::Broken(format!("a group coordinator failed while it had a {key:?}"));
        };
        let frame = framed(|writer| {
            encode_response_header(writer, key, self.version, self.correlation_id);
            response.encode(writer, self.version)
        });
        match frame {
            Ok(frame) => Response::Frame(frame).telling(response.errors()),
            Err(error) => self.broken(&error),
        }
    }

    /// Our own response does not fit its version: a bug of ours. The peer gets a closed connection
    /// rather than a frame that means something else.
    pub(crate) fn broken(&self, error: &EncodeError) -> Response {
        Response::Broken(format!(
            "the {:?} response in version {} could not be written: {error}",
            self.api_key, self.version
        ))
    }
}

/// The answer of the only shard that was asked, to come.
pub(crate) struct ShardAnswer {
    pub(crate) answer: PendingAnswer,
    pub(crate) context: Context,
}

impl Future for ShardAnswer {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, waker: &mut task::Context<'_>) -> Poll<Response> {
        let response = ready!(Pin::new(&mut self.answer).poll(waker));
        Poll::Ready(self.context.encode_of_shard(response.as_ref()))
    }
}

/// What becomes of one request.
pub(crate) enum Answer {
    /// The response is here.
    Ready(Response),
    /// The response will come. What the request asks for is under way already.
    Later(Pin<Box<dyn Future<Output = Response> + Send>>),
    /// The same from the one shard that was asked, as nearly all requests about groups are: without
    /// memory of its own.
    OfShard(ShardAnswer),
    /// The response will come, but the request could not be started at once: nothing after it on
    /// its connection may start either.
    Blocked(Pin<Box<dyn Future<Output = Response> + Send>>),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Ready(response) => f.debug_tuple("Ready").field(response).finish(),
            Answer::Later(_) => f.write_str("Later"),
            Answer::OfShard(_) => f.write_str("OfShard"),
            Answer::Blocked(_) => f.write_str("Blocked"),
        }
    }
}

/// The end of one request.
#[derive(Debug)]
pub(crate) enum Response {
    /// Bytes to send, length included.
    Frame(Bytes),
    /// The same in pieces.
    Pieces(Vec<Piece>),
    /// Nothing to send: Produce with acks=0.
    Silence,
    /// The response tells errors, which are counted.
    WithErrors(Vec<ErrorCode>, Box<Response>),
    /// The response, after which nothing more is read from the connection for that long.
    Throttled(Duration, Box<Response>),
    /// No response can be given; the connection is closed for this reason.
    Broken(String),
}

impl Response {
    /// Returns how many bytes it has.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Response::Frame(frame) => frame.len(),
            Response::Pieces(pieces) => pieces.iter().map(Piece::len).sum(),
            Response::WithErrors(_, inner) | Response::Throttled(_, inner) => inner.bytes(),
            Response::Silence | Response::Broken(_) => 0,
        }
    }

    /// Notes the errors that this response tells.
    pub(crate) fn telling(self, errors: Vec<ErrorCode>) -> Self {
        if errors.is_empty() { self } else { Response::WithErrors(errors, Box::new(self)) }
    }
}
