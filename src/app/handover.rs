//! Handing the listeners on: from the process that serves to the one that waits.
//!
//! Decides when the new process has them: the old one sends its listening sockets over a Unix socket
//! and goes on serving until the new one says that it serves. A new process that fails before that
//! changes nothing. Connections that wait to be accepted belong to the socket, so none is lost.
//!
//! The old process says who it is with its first line, and the addresses after it, one a line; the
//! sockets come along in the same order. The new one answers `serving`, or `other` when none of the
//! addresses is one of its own: then it is the successor of another gateway.

use super::listen::Sockets;
use super::place::{Bound, Place, user};
use anyhow::{Context as _, bail, ensure};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The first line of whoever hands over.
const GREETING: &str = "weir 1";

const SERVING: &str = "serving";
const OTHER: &str = "other";

/// The most sockets that are handed over.
const MOST: usize = 16;

/// The longest message, in bytes.
const LONGEST: usize = 2048;

/// How often the new process is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// How often it is looked whether the old process is still there.
const GONE: Duration = Duration::from_millis(100);

/// How long either process waits for the other's next word.
const ANSWER: Duration = Duration::from_secs(30);

/// The listeners of another process, which serves until it hears that this one does.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) sockets: Vec<(String, RawFd)>,
    from: UnixStream,
}

impl Handed {
    /// Tells the other process that this one serves.
    pub(super) fn serving(mut self) -> std::io::Result<()> {
        writeln!(self.from, "{SERVING}")
    }
}

/// Waits for a process to hand over the listeners of any of the `wanted` addresses. `None` when the
/// process that served has left without doing so.
///
/// # Errors
/// When nothing happens within `patience`.
pub(super) fn receive(
    bound: &Bound,
    place: &Place,
    wanted: &[String],
    patience: Duration,
) -> anyhow::Result<Option<Handed>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // A signal that is meant for the old process may reach this one, too.
        let deaf = [
            SignalKind::quit(),
            SignalKind::hangup(),
            SignalKind::user_defined2(),
        ];
        let _deaf: Vec<_> = deaf
            .into_iter()
            .filter_map(|kind| signal(kind).ok())
            .collect();
        let listener = bound.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let handed = async {
            loop {
                let stream = tokio::select! {
                    stream = listener.accept() => stream?.0,
                    () = tokio::time::sleep(GONE) => {
                        if place.is_served()? {
                            continue;
                        }
                        return Ok(None);
                    }
                };
                match take(stream, wanted) {
                    Ok(Some(handed)) => return Ok(Some(handed)),
                    // Somebody who only wanted to know whether anybody waits.
                    Ok(None) => {}
                    Err(error) => {
                        let error = format!("{error:#}");
                        tracing::warn!(%error, "no listeners were handed over");
                    }
                }
            }
        };
        let shown = bound.path().display();
        match tokio::time::timeout(patience, handed).await {
            Ok(handed) => handed,
            Err(_) => bail!(
                "nobody handed any listeners over at {shown} within {patience:?} (upgrade.wait); \
                 send QUIT to the process that serves"
            ),
        }
    })
}

fn ours(stream: &tokio::net::UnixStream) -> anyhow::Result<()> {
    let peer = stream.peer_cred()?;
    ensure!(Some(peer.uid()) == user(), "the peer is another user");
    Ok(())
}

/// A stream as the rest of this file uses it: waiting, but not for ever.
fn patient(stream: tokio::net::UnixStream) -> std::io::Result<UnixStream> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    Ok(stream)
}

/// What is handed over; nothing when the peer says nothing.
fn take(stream: tokio::net::UnixStream, wanted: &[String]) -> anyhow::Result<Option<Handed>> {
    ours(&stream)?;
    let mut from = patient(stream)?;
    let Some(sockets) = hear(&from)? else {
        return Ok(None);
    };
    if !sockets.iter().any(|(address, _)| wanted.contains(address)) {
        for (_, socket) in &sockets {
            nix::unistd::close(*socket)?;
        }
        writeln!(from, "{OTHER}")?;
        bail!("they are those of another gateway");
    }
    Ok(Some(Handed { sockets, from }))
}

/// Reads the one message with the sockets; nothing when there is none.
fn hear(from: &UnixStream) -> anyhow::Result<Option<Vec<(String, RawFd)>>> {
    let mut text = [0_u8; LONGEST];
    let mut room = nix::cmsg_space!([RawFd; MOST]);
    let mut sockets: Vec<RawFd> = Vec::new();
    let length = {
        let mut into = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(from.as_raw_fd(), &mut into, Some(&mut room), flags)?;
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(more) = part {
                sockets.extend(more);
            }
        }
        message.bytes
    };
    if length == 0 {
        return Ok(None);
    }
    let text = std::str::from_utf8(&text[..length]).unwrap_or_default();
    let mut lines = text.lines();
    let greeted = lines.next() == Some(GREETING);
    let addresses: Vec<&str> = lines.collect();
    if !greeted || addresses.is_empty() || addresses.len() != sockets.len() {
        for socket in sockets {
            nix::unistd::close(socket)?;
        }
        bail!("that is no message with listeners");
    }
    let addresses = addresses.into_iter().map(str::to_owned);
    Ok(Some(addresses.zip(sockets).collect()))
}

/// Whether anybody took the listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// Another process serves now.
    Taken,
    /// Nobody waits for them.
    Nobody,
}

/// Hands the listeners to the process that waits for them, or is about to, within `patience`.
///
/// # Errors
/// When it does not serve in the end: then nothing has changed.
pub(super) async fn offer(
    place: &Place,
    sockets: &Sockets,
    patience: Duration,
) -> anyhow::Result<Offered> {
    if !place.is_awaited().unwrap_or(false) {
        return Ok(Offered::Nobody);
    }
    place.private()?;
    let stream = match tokio::time::timeout(patience, connect(place)).await {
        Ok(stream) => stream?,
        Err(_) => bail!("the new process was not ready within {patience:?} (upgrade.wait)"),
    };
    ours(&stream)?;
    let stream = patient(stream)?;
    let sockets = sockets.clone();
    tokio::task::spawn_blocking(move || give(stream, &sockets)).await??;
    Ok(Offered::Taken)
}

/// Connects to the new process once it listens.
async fn connect(place: &Place) -> anyhow::Result<tokio::net::UnixStream> {
    loop {
        match tokio::net::UnixStream::connect(place.socket()).await {
            Ok(stream) => return Ok(stream),
            Err(_) if place.is_awaited()? => tokio::time::sleep(LOOK).await,
            Err(_) => bail!("the new process has ended"),
        }
    }
}

fn give(mut to: UnixStream, sockets: &Sockets) -> anyhow::Result<()> {
    let mut text = format!("{GREETING}\n");
    for (address, _) in sockets.0.iter() {
        text += address;
        text += "\n";
    }
    let numbers: Vec<RawFd> = sockets.0.iter().map(|(_, socket)| *socket).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let bytes = [IoSlice::new(text.as_bytes())];
    let flags = MsgFlags::MSG_NOSIGNAL;
    let sent = sendmsg::<()>(to.as_raw_fd(), &bytes, &rights, flags, None)?;
    ensure!(sent == text.len(), "the message was cut");
    let mut said = [0_u8; 32];
    let length = to
        .read(&mut said)
        .context("the new process does not answer")?;
    match std::str::from_utf8(&said[..length])
        .unwrap_or_default()
        .trim()
    {
        SERVING => Ok(()),
        OTHER => bail!("the process that waits is the successor of another gateway"),
        "" => bail!("the new process has ended before it served"),
        _ => bail!("the new process gave no answer that is known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::IntoRawFd as _;
    use std::sync::Arc;

    fn listening() -> (String, RawFd) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        (address, socket.into_raw_fd())
    }

    /// What the giver makes of an answer.
    fn answered(answer: &str) -> Result<(), String> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let sockets = vec![listening(), listening()];
        let names: Vec<_> = sockets.iter().map(|(name, _)| name.clone()).collect();
        let giver = std::thread::spawn(move || give(ours, &Sockets(Arc::new(sockets))));
        let heard = hear(&theirs).unwrap().unwrap();
        assert_eq!(
            heard.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            names.iter().collect::<Vec<_>>()
        );
        // They are other numbers for the same sockets, which still listen.
        for (name, socket) in heard {
            std::net::TcpStream::connect(name).unwrap();
            nix::unistd::close(socket).unwrap();
        }
        theirs.write_all(answer.as_bytes()).unwrap();
        drop(theirs);
        giver.join().unwrap().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn sockets_arrive_with_their_addresses_and_the_answer_counts() {
        assert_eq!(answered("serving\n"), Ok(()));
        for (answer, why) in [
            ("other\n", "another gateway"),
            ("", "ended before it served"),
            ("what?\n", "no answer that is known"),
        ] {
            let error = answered(answer).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_message_of_another_kind_is_refused_and_silence_is_none() {
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "weir 1\n",
            "weir 1\n127.0.0.1:1\n",
            "weir 2\n",
            "\n",
        ] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(text.as_bytes()).unwrap();
            let error = hear(&theirs).unwrap_err().to_string();
            assert!(
                error.contains("no message with listeners"),
                "{text}: {error}"
            );
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        assert!(hear(&theirs).unwrap().is_none());
    }
}
