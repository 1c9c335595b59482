//! Events as a stream in Redis, as the Model Gateway wrote them.
//!
//! Decides how they are written: many `XADD` in one pipeline, each with the length that the stream is to be cut to.
//! An event is sent once; when the answer to it does not come, it counts as lost.

use super::sink::{self, Failed, Write};
use super::{Feed, Sink, Watch};
use crate::event::Event;
use crate::fleet::connect::{Connection, Connector};
use crate::settings::EventStream;
use redis::aio::ConnectionLike as _;
use redis::{Pipeline, RedisError, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection that was not used for so long is asked first whether it is still there.
const IDLE: Duration = Duration::from_secs(1);

/// A stream in Redis.
pub struct Stream {
    connector: Connector,
    settings: EventStream,
    connection: Option<Connection>,
    used: Instant,
}

impl Stream {
    /// The stream that `settings` name. Nothing is connected to yet.
    pub fn new(connector: Connector, settings: EventStream) -> Self {
        Self {
            connector,
            settings,
            connection: None,
            used: Instant::now(),
        }
    }

    /// Writes what `watch` sees, until [`Feed::close`].
    pub async fn run(self, feed: Arc<Feed>, watch: Watch) {
        sink::run(&feed, Sink::Redis, watch, self).await;
    }

    fn pipeline(&self, events: &[Arc<Event>]) -> Pipeline {
        let mut pipeline = redis::pipe();
        for event in events {
            let command = pipeline.cmd("XADD").arg(&self.settings.stream);
            command.arg("MAXLEN").arg("~").arg(self.settings.maxlen);
            command.arg("*");
            for (field, value) in event.pairs() {
                command.arg(field).arg(value);
            }
        }
        pipeline
    }

    /// A connection that has just been there.
    async fn connection(&mut self) -> Result<&mut Connection, RedisError> {
        if self.used.elapsed() > IDLE
            && let Some(mut idle) = self.connection.take()
        {
            // A question that goes where the events go, also in a cluster.
            let mut question = redis::cmd("EXISTS");
            question.arg(&self.settings.stream);
            let answered = idle.req_packed_command(&question).await;
            self.connection = answered.is_ok().then_some(idle);
        }
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connector.connect().await?,
        };
        Ok(self.connection.insert(connection))
    }
}

impl Write for Stream {
    async fn prepare(&mut self) -> Result<(), String> {
        let connected = self.connection().await;
        connected.map(|_| ()).map_err(|error| error.to_string())
    }

    async fn write(&mut self, events: &mut Vec<Arc<Event>>) -> Result<(), Failed> {
        let pipeline = self.pipeline(events);
        let failed = |lost, error: RedisError| Failed {
            lost,
            why: error.to_string(),
        };
        let connection = match self.connection().await {
            Ok(connection) => connection,
            Err(error) => return Err(failed(0, error)),
        };
        let answers = connection
            .req_packed_commands(&pipeline, 0, events.len())
            .await;
        self.used = Instant::now();
        let answers = match answers {
            Ok(answers) if answers.len() == events.len() => answers,
            outcome => {
                self.connection = None;
                let lost = std::mem::take(events).len();
                let error = outcome.err();
                let why = error.map_or_else(
                    || "Redis gave another number of answers".to_owned(),
                    |error| error.to_string(),
                );
                return Err(Failed { lost, why });
            }
        };
        let mut refused = None;
        let mut answers = answers.into_iter();
        // What Redis refuses it has not written.
        events.retain(|_| match answers.next() {
            Some(Value::ServerError(error)) => {
                refused = Some(error);
                true
            }
            _ => false,
        });
        match refused {
            None => Ok(()),
            Some(error) => {
                // Another server may be the master by now.
                self.connection = None;
                Err(failed(0, error.into()))
            }
        }
    }
}
