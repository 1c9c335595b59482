//! The records of quarantine in a file: what a process that starts anew must know.
//!
//! Decides what a line is: all that is known of one caller, so that lines may be read twice and in any order.
//! A thread of its own writes, reads what other processes beside this one have written, and makes the file
//! anew when it holds more of the past than of the present.

use super::files::Lines;
use crate::guard::quarantine::{Cells, Record, Strike, Who};
use crate::ledger::log::Clock;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How often it is looked what other processes have written.
const LOOK: Duration = Duration::from_millis(500);

/// How often what is over is forgotten.
const SWEEP: Duration = Duration::from_secs(600);

/// The size from which on it is looked whether the file should be made anew.
const LARGE: u64 = 1 << 20;

/// Records that are written at once.
const BATCH: usize = 256;

/// One line.
#[derive(Serialize, Deserialize)]
struct Line {
    v: u32,
    who: String,
    strikes: Vec<(u64, u64)>,
    #[serde(default)]
    lifted: u64,
    #[serde(default)]
    pardoned: u64,
    #[serde(default)]
    permanent: u64,
}

impl Line {
    fn of(who: &Who, record: &Record) -> String {
        let [lifted, pardoned, permanent] = record.times();
        let line = Self {
            v: 1,
            who: who.to_text(),
            strikes: record.strikes().iter().map(|s| (s.at, s.id)).collect(),
            lifted,
            pardoned,
            permanent,
        };
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        text
    }

    fn read(text: &str) -> Option<(Who, Record)> {
        let line: Self = serde_json::from_str(text)
            .ok()
            .filter(|line: &Self| line.v == 1)?;
        let strikes = line.strikes.into_iter().map(|(at, id)| Strike { at, id });
        let record = Record::new(strikes, line.lifted, line.pardoned, line.permanent);
        Some((Who::parse(&line.who)?, record))
    }
}

enum Order {
    Write(Who, Record, Option<oneshot::Sender<()>>),
    Close,
}

/// The way to the thread.
pub(super) struct Journal {
    orders: Sender<Order>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Reads the file at `path` into `cells`, and begins to write there.
    ///
    /// # Errors
    /// When the file cannot be read, or the system gives no thread.
    pub(super) fn open(path: &Path, cells: &Arc<Cells>, clock: &Clock) -> io::Result<Self> {
        let mut writer = Writer {
            lines: Lines::at(path),
            cells: Arc::clone(cells),
            clock: clock.clone(),
            behind: false,
            complained: false,
        };
        writer.follow()?;
        let (orders, taken) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("weir-quarantine".to_owned())
            .spawn(move || writer.run(&taken))?;
        Ok(Self {
            orders,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Writes a record; what is given back is told once it is on the disk.
    pub(super) fn write(&self, who: &Who, record: Record) -> oneshot::Receiver<()> {
        let (done, written) = oneshot::channel();
        // After the end nothing is written, and whoever waits is told so.
        let _ = self.orders.send(Order::Write(*who, record, Some(done)));
        written
    }

    /// Writes a record that nobody waits for.
    pub(super) fn note(&self, who: &Who, record: Record) {
        let _ = self.orders.send(Order::Write(*who, record, None));
    }

    /// Waits until everything is written, and ends the thread.
    pub(super) fn close(&self) {
        let _ = self.orders.send(Order::Close);
        let thread = self.thread.lock();
        let thread = thread.unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes quarantines has failed");
        }
    }
}

struct Writer {
    lines: Lines,
    cells: Arc<Cells>,
    clock: Clock,
    /// Whether something could not be written.
    behind: bool,
    complained: bool,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut swept = Instant::now();
        let mut open = true;
        while open {
            let mut waiting = Vec::new();
            let mut text = String::new();
            let mut take = |order| match order {
                Order::Write(who, record, done) => {
                    text.push_str(&Line::of(&who, &record));
                    waiting.extend(done);
                    true
                }
                Order::Close => false,
            };
            match orders.recv_timeout(LOOK) {
                Ok(order) => {
                    open = take(order);
                    for order in orders.try_iter().take(BATCH) {
                        open &= take(order);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => open = false,
            }
            let outcome = self.step(&text);
            self.behind |= outcome.is_err() && !text.is_empty();
            self.complain(outcome);
            if !self.behind {
                for done in waiting {
                    let _ = done.send(());
                }
            }
            if swept.elapsed() >= SWEEP {
                self.cells.sweep(self.clock.millis());
                swept = Instant::now();
            }
        }
    }

    /// Writes what there is to write, and reads what others have written.
    fn step(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() && !self.behind {
            return self.follow();
        }
        let (cells, now, behind) = (Arc::clone(&self.cells), self.clock.millis(), self.behind);
        let size = self.lines.append(|news| {
            let is_new = news.is_none();
            let anew = news.as_ref().is_some_and(|news| news.anew);
            read(&cells, now, news.unwrap_or_default().lines);
            // A file that this process has not written holds nothing of what it knows.
            if behind || is_new || anew {
                return all(&cells, now);
            }
            text.to_owned()
        })?;
        self.behind = false;
        if size > LARGE {
            let live = all(&self.cells, now);
            let live_size = u64::try_from(live.len()).unwrap_or(u64::MAX);
            if size / 4 > live_size {
                self.lines.replace(|news| {
                    read(&cells, now, news.lines);
                    all(&cells, now)
                })?;
            }
        }
        Ok(())
    }

    fn follow(&mut self) -> io::Result<()> {
        let news = self.lines.news()?;
        read(&self.cells, self.clock.millis(), news.lines);
        Ok(())
    }

    /// Says once that something is wrong, and once that it is well again.
    fn complain(&mut self, outcome: io::Result<()>) {
        match outcome {
            Ok(()) if self.complained => {
                self.complained = false;
                tracing::info!("quarantines are written again");
            }
            Err(error) if !self.complained => {
                self.complained = true;
                let path = self.lines.path().display();
                tracing::error!(%error, %path, "quarantines are not written: a restart would forget them");
            }
            _ => {}
        }
    }
}

fn all(cells: &Cells, now: u64) -> String {
    let all = cells.all(now);
    all.iter()
        .map(|(who, record)| Line::of(who, record))
        .collect()
}

fn read(cells: &Cells, now: u64, lines: Vec<String>) {
    let mut damaged = 0_u64;
    for line in lines {
        match Line::read(&line) {
            Some((who, record)) => drop(cells.merge(&who, &record, now)),
            None => damaged += 1,
        }
    }
    if damaged > 0 {
        tracing::error!(
            lines = damaged,
            "damaged records of quarantine were passed over"
        );
    }
}
