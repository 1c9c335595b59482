//! Event streams: content, faults and timing in their order.
//!
//! An answer is a row of steps, each ending where a chunk of content ends; a fault happens after
//! the chunk it names. What has been handed to the socket is written down after every step.

use std::time::Duration;

use tokio::time::Instant;

use super::answer::{End, Plan};
use super::behaviour::{Behaviour, Cut, Dialect, UsageForm};
use super::record::{Announced, Exchange};
use super::shape::Shape;
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
    head: &Head,
    exchange: &mut Exchange,
    wire: &mut W,
) -> Result<End, Gone> {
    let behaviour = plan.behaviour;
    let openai = behaviour.dialect == Dialect::OpenAi;
    let shape = &plan.shape;
    let total = plan.per_choice.saturating_mul(plan.choices);
    let usage = plan
        .usage
        .as_ref()
        .filter(|_| !openai || plan.include_usage);
    let early = usage.filter(|_| behaviour.usage == UsageForm::Early);
    let mut pace = Pace::begin(behaviour, head, wire).await?;
    for index in 0..=total {
        match Fault::after(index, behaviour) {
            Some(Fault::Error) => {
                pace.out.flush(true).await?;
                exchange.produced(index);
                return error(plan, index, exchange, pace.out).await;
            }
            Some(fault) => return pace.give_up(&fault, index, exchange).await,
            None => {}
        }
        if index == 0 {
            if behaviour.comment {
                pace.out.text().extend_from_slice(PROCESSING);
            }
            for choice in 0..plan.choices {
                let usage = early
                    .filter(|_| choice == 0)
                    .map(|usage| usage.json.as_str());
                let opening = plan.content.opening(choice);
                shape.event(pace.out.text(), choice, opening.as_bytes(), None, usage);
            }
            pace.step(0, exchange).await?;
            exchange.record.announced = early.and_then(|usage| usage.says);
        }
        if index == total {
            break;
        }
        pace.delay(index, exchange).await?;
        if behaviour.comment && index % 10 == 9 {
            pace.out.text().extend_from_slice(PROCESSING);
        }
        let mut delta = Vec::with_capacity(64);
        plan.content
            .delta(index / plan.choices, plan.per_choice, &mut delta);
        shape.event(pace.out.text(), index % plan.choices, &delta, None, None);
        pace.step(index + 1, exchange).await?;
    }
    let empty: &[u8] = if openai {
        b""
    } else {
        br#""role":"assistant","content":"""#
    };
    for choice in 0..plan.choices {
        shape.event(pace.out.text(), choice, empty, Some(plan.finish), None);
    }
    pace.step(total, exchange).await?;
    if let Some(usage) = usage.filter(|_| early.is_none()) {
        for _ in 0..if behaviour.usage == UsageForm::Twice {
            2
        } else {
            1
        } {
            if openai {
                shape.usage_event(pace.out.text(), &usage.json);
            } else {
                shape.event(
                    pace.out.text(),
                    0,
                    empty,
                    Some(plan.finish),
                    Some(&usage.json),
                );
            }
        }
    }
    if behaviour.done != Some(false) {
        pace.out.text().extend_from_slice(b"data: [DONE]\n\n");
    }
    pace.out.finish().await?;
    exchange.produced(total);
    exchange.record.announced = usage.and_then(|usage| usage.says);
    Ok(End::Completed)
}

async fn error<W: Wire>(
    plan: &Plan<'_>,
    produced: u64,
    exchange: &mut Exchange,
    mut out: Out<'_, W>,
) -> Result<End, Gone> {
    let says = plan.behaviour.error_cost.map(|cost| Announced {
        prompt_tokens: i64::try_from(exchange.record.prompt_tokens).unwrap_or(i64::MAX),
        completion_tokens: i64::try_from(produced).unwrap_or(i64::MAX),
        cost_nanos: Some(cost.0),
    });
    let usage = says.zip(plan.behaviour.error_cost).map(|(says, cost)| {
        format!(
            r#"{{"prompt_tokens":{},"completion_tokens":{produced},"total_tokens":{},"cost":{cost}}}"#,
            says.prompt_tokens,
            exchange.record.prompt_tokens.saturating_add(produced),
        )
    });
    plan.shape.error_event(out.text(), usage.as_deref());
    if plan.behaviour.done == Some(true) {
        out.text().extend_from_slice(b"data: [DONE]\n\n");
    }
    out.finish().await?;
    exchange.record.announced = says;
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
                .error_event(pace.out.text(), None);
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
