//! YAML text into a tree in which every value knows its line and column.
//!
//! Decides what YAML is accepted at all: one document, plain-text keys, no key twice, no tags, and
//! anchors, aliases and merge keys within a bound on the whole. It does not know what any key
//! means, and leaves scalars as the text that was written, so that `50.10` stays `50.10`.
//!
//! Two parsers read every file, and a text that either refuses is refused. `saphyr-parser` goes
//! first and gives the events with their positions; `serde_yaml` then judges the syntax again. In
//! this order because the time of the second grows with the square of the depth, which the first
//! bounds.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde::Deserialize as _;
use std::collections::{HashMap, HashSet};

/// The largest file accepted, in bytes.
pub const LARGEST_FILE: usize = 1 << 20;
/// How deep lists and mappings may nest.
pub const DEEPEST: usize = 64;
/// The largest tree accepted once aliases are filled in: text bytes plus [`NODE_WEIGHT`] a node.
const HEAVIEST: usize = 16 << 20;
/// What a node weighs besides its text.
const NODE_WEIGHT: usize = 64;

/// A place in the text; both numbers count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Mark {
    /// The first character.
    pub const START: Self = Self { line: 1, column: 1 };

    fn of(span: &Span) -> Self {
        Self {
            line: span.start.line().max(1),
            column: span.start.col() + 1,
        }
    }
}

/// A value and its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub mark: Mark,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Clone, PartialEq, Eq)]
pub enum Kind {
    /// One text.
    Scalar {
        /// The text, quotes and escapes undone.
        text: String,
        /// Whether it was written without quotes.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// Keys with values, in file order.
    Mapping(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key is.
    pub mark: Mark,
    /// The value.
    pub value: Node,
}

impl Node {
    fn null(mark: Mark) -> Self {
        Self {
            mark,
            kind: Kind::Scalar {
                text: String::new(),
                plain: true,
            },
        }
    }

    /// Whether this is YAML's nothing: an empty value, `~` or `null` without quotes.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, for a message.
    pub fn describe(&self) -> &'static str {
        match self.kind {
            _ if self.is_null() => "nothing",
            Kind::Scalar { .. } => "a single value",
            Kind::List(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }

    fn weight(&self) -> usize {
        NODE_WEIGHT
            + match &self.kind {
                Kind::Scalar { text, .. } => text.len(),
                Kind::List(items) => items.iter().map(Self::weight).sum(),
                Kind::Mapping(entries) => entries
                    .iter()
                    .map(|entry| entry.key.len() + entry.value.weight())
                    .sum(),
            }
    }
}

/// What is wrong with the text as YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub mark: Mark,
    /// What.
    pub message: String,
}

impl Fault {
    fn new(mark: Mark, message: impl Into<String>) -> Self {
        Self {
            mark,
            message: message.into(),
        }
    }
}

/// What came of a text.
pub struct Parsed {
    /// The document, unless the text is no YAML; nothing for an empty one.
    pub root: Option<Node>,
    /// Everything that is wrong with it.
    pub faults: Vec<Fault>,
}

/// Reads one document.
pub fn parse(text: &str) -> Parsed {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    let root = check_size(text)
        .and_then(|()| builder.run(text))
        .and_then(|root| check_syntax(text).map(|()| root));
    match root {
        Ok(root) => Parsed {
            root: Some(root),
            faults: builder.faults,
        },
        Err(fault) => {
            builder.faults.push(fault);
            Parsed {
                root: None,
                faults: builder.faults,
            }
        }
    }
}

fn check_size(text: &str) -> Result<(), Fault> {
    if text.len() > LARGEST_FILE {
        return Err(Fault::new(Mark::START, "the file is larger than 1 MiB"));
    }
    Ok(())
}

fn check_syntax(text: &str) -> Result<(), Fault> {
    for document in serde_yaml::Deserializer::from_str(text) {
        serde::de::IgnoredAny::deserialize(document).map_err(|error| {
            let mark = error.location().map_or(Mark::START, |at| Mark {
                line: at.line().max(1),
                column: at.column().max(1),
            });
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message);
            Fault::new(mark, format!("not valid YAML: {message}"))
        })?;
    }
    Ok(())
}

/// A list or mapping that is still open.
struct Open {
    mark: Mark,
    anchor: usize,
    shape: Shape,
}

enum Shape {
    List(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        seen: HashMap<String, Mark>,
        key: Option<(String, Mark)>,
    },
}

/// Turns events into a tree with a stack of its own, so that nesting costs no call stack.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    weight: usize,
    faults: Vec<Fault>,
}

impl Builder {
    fn run(&mut self, text: &str) -> Result<Node, Fault> {
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0_usize;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| {
                let at = error.marker();
                let mark = Mark {
                    line: at.line().max(1),
                    column: at.col() + 1,
                };
                Fault::new(mark, format!("not valid YAML: {}", error.info()))
            })?;
            let mark = Mark::of(&span);
            match event {
                Event::DocumentStart(_) if documents > 0 => {
                    return Err(Fault::new(
                        mark,
                        "a second document begins here; the file may hold one",
                    ));
                }
                Event::DocumentStart(_) => documents += 1,
                Event::Scalar(text, style, anchor, tag) => {
                    self.refuse_tag(mark, tag.is_some());
                    let plain = style == ScalarStyle::Plain;
                    self.scalar(mark, text.into_owned(), plain, anchor)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.refuse_tag(mark, tag.is_some());
                    self.begin(mark, anchor, Shape::List(Vec::new()))?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.refuse_tag(mark, tag.is_some());
                    let shape = Shape::Mapping {
                        entries: Vec::new(),
                        seen: HashMap::new(),
                        key: None,
                    };
                    self.begin(mark, anchor, shape)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end()?,
                Event::Alias(anchor) => self.alias(mark, anchor)?,
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => break,
            }
        }
        Ok(self.root.take().unwrap_or_else(|| Node::null(Mark::START)))
    }

    fn refuse_tag(&mut self, mark: Mark, tagged: bool) {
        if tagged {
            self.faults
                .push(Fault::new(mark, "tags (`!name`) are not supported"));
        }
    }

    fn weigh(&mut self, mark: Mark, weight: usize) -> Result<(), Fault> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > HEAVIEST {
            return Err(Fault::new(
                mark,
                "the aliases of this file expand to too much",
            ));
        }
        Ok(())
    }

    /// Whether the next node is the key of a mapping.
    fn wants_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                shape: Shape::Mapping { key: None, .. },
                ..
            })
        )
    }

    fn scalar(
        &mut self,
        mark: Mark,
        text: String,
        plain: bool,
        anchor: usize,
    ) -> Result<(), Fault> {
        self.weigh(mark, NODE_WEIGHT + text.len())?;
        if self.wants_key() {
            if let Some(Open {
                shape: Shape::Mapping { seen, key, .. },
                ..
            }) = self.open.last_mut()
            {
                if let Some(first) = seen.get(&text) {
                    let message = format!("`{text}` is given twice; first in line {}", first.line);
                    self.faults.push(Fault::new(mark, message));
                } else {
                    seen.insert(text.clone(), mark);
                }
                *key = Some((text, mark));
            }
            return Ok(());
        }
        self.place(
            Node {
                mark,
                kind: Kind::Scalar { text, plain },
            },
            anchor,
        );
        Ok(())
    }

    fn begin(&mut self, mark: Mark, anchor: usize, shape: Shape) -> Result<(), Fault> {
        if self.wants_key() {
            return Err(Fault::new(mark, "a key must be plain text"));
        }
        if self.open.len() >= DEEPEST {
            return Err(Fault::new(
                mark,
                format!("nested deeper than {DEEPEST} levels"),
            ));
        }
        self.weigh(mark, NODE_WEIGHT)?;
        self.open.push(Open {
            mark,
            anchor,
            shape,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(Open {
            mark,
            anchor,
            shape,
        }) = self.open.pop()
        else {
            return Ok(());
        };
        let kind = match shape {
            Shape::List(items) => Kind::List(items),
            Shape::Mapping { entries, .. } => Kind::Mapping(self.merge(entries)?),
        };
        self.place(Node { mark, kind }, anchor);
        Ok(())
    }

    fn alias(&mut self, mark: Mark, anchor: usize) -> Result<(), Fault> {
        if self.wants_key() {
            return Err(Fault::new(mark, "a key must be plain text, not an alias"));
        }
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Fault::new(mark, "an anchor may not contain itself"));
        };
        let weight = node.weight();
        self.weigh(mark, weight)?;
        if let Some(node) = self.anchors.get(&anchor).cloned() {
            self.place(node, 0);
        }
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.shape) {
            None => self.root = Some(node),
            Some(Shape::List(items)) => items.push(node),
            Some(Shape::Mapping { entries, key, .. }) => {
                // A key that was there already has been reported; the first one stays.
                if let Some((key, mark)) = key.take() {
                    entries.push(Entry {
                        key,
                        mark,
                        value: node,
                    });
                }
            }
        }
    }

    /// Fills in `<<: *base`: keys that the mapping does not give itself.
    fn merge(&mut self, mut entries: Vec<Entry>) -> Result<Vec<Entry>, Fault> {
        let mut seen: HashSet<String> = HashSet::with_capacity(entries.len());
        entries.retain(|entry| seen.insert(entry.key.clone()));
        let Some(at) = entries.iter().position(|entry| entry.key == "<<") else {
            return Ok(entries);
        };
        let Entry { mark, value, .. } = entries.remove(at);
        let bases = match value.kind {
            Kind::List(items) => items,
            kind => vec![Node {
                mark: value.mark,
                kind,
            }],
        };
        for base in bases {
            let Kind::Mapping(base) = base.kind else {
                self.faults
                    .push(Fault::new(mark, "`<<` merges mappings only"));
                continue;
            };
            for entry in base {
                if seen.insert(entry.key.clone()) {
                    self.weigh(mark, NODE_WEIGHT)?;
                    entries.push(entry);
                }
            }
        }
        Ok(entries)
    }
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
