//! Event streams: content, faults and timing in their order.
//!
//! An answer is a row of steps, each ending where a chunk of content ends; a fault happens after
//! the chunk it names. What has been handed to the socket is written down after every step.

use std::time::Duration;

use tokio::time::Instant;

use super::answer::End;
use super::behaviour::{Behaviour, Cut};
use super::record::Exchange;
use super::shape::Shape;
use super::speak::{Plan, Speaker};
use super::wire::{Gone, Head, Out, Wire, wait};

/// Beyond this, what is held back to be sent together is sent.
const COALESCED: usize = 64 * 1024;

const PROCESSING: &[u8] = b": OPENROUTER PROCESSING\n\n";

/// What is to happen at one point of an answer instead of its continuation.
pub(super) enum Fault {
    Cut(Cut),
    Hang,
    Error,
}

impl Fault {
    /// The fault that happens after `chunks` chunks.
    pub(super) fn after(chunks: u64, behaviour: &Behaviour) -> Option<Self> {
        if behaviour.error_at == Some(chunks) {
            Some(Self::Error)
        } else if behaviour.cut_at == Some(chunks) {
            Some(Self::Cut(behaviour.cut.unwrap_or(Cut::Reset)))
        } else if behaviour.hang_at == Some(chunks) {
            Some(Self::Hang)
        } else {
            None
        }
    }
}

/// The clock of a stream, and the state of its writes.
struct Pace<'p, 'w, W> {
    behaviour: &'p Behaviour,
    out: Out<'w, W>,
    next: Instant,
}

impl<'p, 'w, W: Wire> Pace<'p, 'w, W> {
    async fn begin(behaviour: &'p Behaviour, head: &Head, wire: &'w mut W) -> Result<Self, Gone> {
        wire.head(head);
        if behaviour.delay_ms > 0 || Fault::after(0, behaviour).is_some() {
            wire.write(&[], false).await?;
        }
        Ok(Self {
            behaviour,
            out: Out::new(wire, behaviour, true),
            next: Instant::now(),
        })
    }

    /// Sends everything there is, then lets the time between two chunks pass.
    async fn delay(&mut self, chunks: u64, exchange: &mut Exchange) -> Result<(), Gone> {
        if self.behaviour.delay_ms > 0 {
            self.out.flush(true).await?;
            exchange.produced(chunks);
            self.next += Duration::from_millis(self.behaviour.delay_ms);
            wait(self.out.wire(), self.next).await?;
        }
        Ok(())
    }

    /// Ends a step: sends it by itself unless steps are to be sent together.
    async fn step(&mut self, chunks: u64, exchange: &mut Exchange) -> Result<(), Gone> {
        let hold = self.behaviour.coalesce && self.out.text().len() < COALESCED;
        if !hold && self.out.flush(false).await? {
            exchange.produced(chunks);
        }
        Ok(())
    }

    /// A connection that is cut or silent from here on.
    async fn give_up(
        &mut self,
        fault: &Fault,
        chunks: u64,
        exchange: &mut Exchange,
    ) -> Result<End, Gone> {
        self.out.flush(true).await?;
        exchange.produced(chunks);
        match fault {
            Fault::Cut(cut) => {
                self.out.wire().abort(*cut);
                Ok(End::Cut)
            }
            Fault::Hang | Fault::Error => {
                self.out.wire().gone().await;
                Err(Gone)
            }
        }
    }
}

/// Streams the planned answer.
pub(super) async fn events<W: Wire>(
    plan: &Plan<'_>,
    speaker: &mut dyn Speaker,
    head: &Head,
    exchange: &mut Exchange,
    wire: &mut W,
) -> Result<End, Gone> {
    let behaviour = plan.behaviour;
    let total = plan.total();
    let mut pace = Pace::begin(behaviour, head, wire).await?;
    for index in 0..=total {
        match Fault::after(index, behaviour) {
            Some(Fault::Error) => {
                pace.out.flush(true).await?;
                exchange.produced(index);
                speaker.error(index, pace.out.text());
                return end(behaviour.done == Some(true), speaker, exchange, pace.out).await;
            }
            Some(fault) => {
                let end = pace.give_up(&fault, index, exchange).await;
                exchange.record.announced = speaker.announced();
                return end;
            }
            None => {}
        }
        if index == 0 {
            if behaviour.comment {
                pace.out.text().extend_from_slice(PROCESSING);
            }
            speaker.opening(pace.out.text());
            pace.step(0, exchange).await?;
            exchange.record.announced = speaker.announced();
        }
        if index == total {
            break;
        }
        pace.delay(index, exchange).await?;
        if behaviour.comment && index % 10 == 9 {
            pace.out.text().extend_from_slice(PROCESSING);
        }
        speaker.chunk(index, pace.out.text());
        pace.step(index + 1, exchange).await?;
        exchange.record.announced = speaker.announced();
    }
    speaker.closing(pace.out.text());
    pace.step(total, exchange).await?;
    speaker.farewell(pace.out.text());
    let done = behaviour.done.unwrap_or(speaker.done());
    let end = end(done, speaker, exchange, pace.out).await?;
    exchange.produced(total);
    Ok(end)
}

/// Ends the stream with what is there.
async fn end<W: Wire>(
    done: bool,
    speaker: &dyn Speaker,
    exchange: &mut Exchange,
    mut out: Out<'_, W>,
) -> Result<End, Gone> {
    if done {
        out.text().extend_from_slice(b"data: [DONE]\n\n");
    }
    out.finish().await?;
    exchange.record.announced = speaker.announced();
    Ok(End::Completed)
}

/// Replays a recorded event stream; its events count as chunks.
pub(super) async fn replay<W: Wire>(
    recorded: &[u8],
    behaviour: &Behaviour,
    head: &Head,
    exchange: &mut Exchange,
    wire: &mut W,
) -> Result<End, Gone> {
    let mut pace = Pace::begin(behaviour, head, wire).await?;
    let (mut rest, mut index) = (recorded, 0);
    loop {
        match Fault::after(index, behaviour) {
            Some(Fault::Error) => {
                Shape::new(
                    behaviour.dialect,
                    true,
                    "gen-mock",
                    &exchange.record.model,
                    0,
                    false,
                )
                .error_event(pace.out.text(), behaviour.code.as_deref(), None);
                break;
            }
            Some(fault) => return pace.give_up(&fault, index, exchange).await,
            None => {}
        }
        let length = event_length(rest);
        if length == 0 {
            break;
        }
        if index > 0 {
            pace.delay(index, exchange).await?;
        }
        pace.out.text().extend_from_slice(&rest[..length]);
        rest = &rest[length..];
        index += 1;
        pace.step(index, exchange).await?;
    }
    pace.out.finish().await?;
    exchange.produced(index);
    Ok(End::Completed)
}

/// Bytes up to and with the first blank line.
fn event_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(end) = memchr::memchr(b'\n', &text[at..]) {
        let line = &text[at..at + end];
        at += end + 1;
        if line.is_empty() || line == b"\r" {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_end_with_a_blank_line_of_either_kind() {
        for (text, length) in [
            ("", 0),
            ("a", 1),
            ("a\n\nb", 3),
            ("a\r\n\r\nb", 5),
            ("a\nb\n\n", 5),
        ] {
            assert_eq!(event_length(text.as_bytes()), length, "{text:?}");
        }
    }
}
