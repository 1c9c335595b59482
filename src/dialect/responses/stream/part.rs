//! The parts of the open item: texts, refusals, thoughts, arguments, piece by piece.
//!
//! Decides where one part ends and the next begins, and what of them is kept.

use super::super::output::{self, Status};
use super::{Open, Stream, Waiting, event};
use crate::dialect::form::Text;
use crate::dialect::json::{Members, escape};

impl Stream {
    /// An event about a part of the open item.
    pub(super) fn of_part(
        &mut self,
        out: &mut Vec<u8>,
        kind: &str,
        index: Option<(&str, u64)>,
        rest: impl FnOnce(&mut Members<'_>, &[u8]),
    ) {
        event(&mut self.sequence, out, kind, |members| {
            members.text("item_id", &self.item);
            members.number("output_index", self.place);
            if let Some((key, index)) = index {
                members.number(key, index);
            }
            rest(members, &self.said);
        });
    }

    /// Keeps a text of the open part, if there is room: where it begins in [`Stream::said`].
    fn keep(&mut self, text: &str) -> Option<usize> {
        let from = self.said.len();
        self.full |= self.kept().saturating_add(text.len()) > self.limit;
        if self.full {
            return None;
        }
        escape(&mut self.said, text);
        Some(from)
    }

    pub(super) fn kept(&self) -> usize {
        let content = match &self.open {
            Open::Message { content, .. } => content.len(),
            _ => 0,
        };
        let waiting = |one: &Waiting| one.id.len() + one.name.len() + one.arguments.len();
        let waiting: usize = self.waiting.iter().map(waiting).sum();
        self.items.len() + self.said.len() + content + waiting
    }

    /// A piece of the open part.
    pub(super) fn delta(
        &mut self,
        out: &mut Vec<u8>,
        kind: &str,
        index: Option<(&str, u64)>,
        text: &str,
    ) {
        let kept = self.keep(text);
        let mut unkept = Vec::new();
        if kept.is_none() {
            escape(&mut unkept, text);
        }
        self.of_part(out, kind, index, |members, said| {
            members.escaped("delta", kept.map_or(&unkept, |from| &said[from..]));
            if kind == "response.output_text.delta" {
                members.raw("logprobs", "[]");
            }
        });
    }

    pub(super) fn say(&mut self, text: &str, refusal: bool, out: &mut Vec<u8>) {
        let same = matches!(&self.open, Open::Message { refusal: open, .. } if *open == refusal);
        if !same {
            self.begin_part(refusal, out);
        }
        let Open::Message { part, .. } = self.open else {
            return;
        };
        let kind = if refusal {
            "response.refusal.delta"
        } else {
            "response.output_text.delta"
        };
        self.delta(out, kind, Some(("content_index", part)), text);
    }

    /// Begins a part of a message, and the message if need be.
    fn begin_part(&mut self, as_refusal: bool, out: &mut Vec<u8>) {
        if let Open::Message { .. } = self.open {
            self.end_part(out);
            if let Open::Message { part, refusal, .. } = &mut self.open {
                *part += 1;
                *refusal = as_refusal;
            }
        } else {
            self.end_item(Status::Completed, out);
            self.item = self.names.next("msg");
            self.open = Open::Message {
                content: Vec::new(),
                part: 0,
                refusal: as_refusal,
            };
            let mut item = Vec::new();
            output::message(&mut item, &self.item, Status::InProgress, b"");
            self.item_event(out, "response.output_item.added", &item);
        }
        let Open::Message { part, refusal, .. } = self.open else {
            return;
        };
        let index = Some(("content_index", part));
        self.of_part(out, "response.content_part.added", index, |members, _| {
            output::part(members.key("part"), refusal, b"");
        });
    }

    pub(super) fn end_part(&mut self, out: &mut Vec<u8>) {
        let Open::Message { part, refusal, .. } = self.open else {
            return;
        };
        let index = Some(("content_index", part));
        if refusal {
            self.of_part(out, "response.refusal.done", index, |members, said| {
                members.escaped("refusal", said);
            });
        } else {
            self.of_part(out, "response.output_text.done", index, |members, said| {
                members.escaped("text", said);
                members.raw("logprobs", "[]");
            });
        }
        self.of_part(out, "response.content_part.done", index, |members, said| {
            output::part(members.key("part"), refusal, said);
        });
        if let Open::Message { content, .. } = &mut self.open {
            output::comma(content);
            output::part(content, refusal, &self.said);
        }
        self.said.clear();
    }

    pub(super) fn think(
        &mut self,
        text: &str,
        signature: Option<&Text<'_>>,
        redacted: bool,
        out: &mut Vec<u8>,
    ) {
        if text.is_empty() && signature.is_none() {
            return;
        }
        if redacted || !matches!(self.open, Open::Thought { .. }) {
            self.end_item(Status::Completed, out);
            self.item = self.names.next("rs");
            self.open = Open::Thought {
                begun: false,
                signature: None,
            };
            let mut item = Vec::new();
            output::thought(&mut item, &self.item, None, None);
            self.item_event(out, "response.output_item.added", &item);
        }
        if !text.is_empty() {
            let index = Some(("summary_index", 0));
            if let Open::Thought { begun, .. } = &mut self.open
                && !std::mem::replace(begun, true)
            {
                let kind = "response.reasoning_summary_part.added";
                self.of_part(out, kind, index, |members, _| {
                    output::summary(members.key("part"), b"");
                });
            }
            let kind = "response.reasoning_summary_text.delta";
            self.delta(out, kind, index, text);
        }
        if let (Some(proof), Open::Thought { signature, .. }) = (signature, &mut self.open) {
            *signature = Some((proof.as_ref().to_owned(), redacted));
            self.end_item(Status::Completed, out);
        }
    }

    pub(super) fn end_summary(&mut self, out: &mut Vec<u8>) {
        let index = Some(("summary_index", 0));
        let kind = "response.reasoning_summary_text.done";
        self.of_part(out, kind, index, |members, said| {
            members.escaped("text", said)
        });
        let kind = "response.reasoning_summary_part.done";
        self.of_part(out, kind, index, |members, said| {
            output::summary(members.key("part"), said);
        });
    }
}
