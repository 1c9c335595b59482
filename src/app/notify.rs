//! What is said to a service manager: that the gateway is ready, is leaving, or is another process now.
//!
//! The protocol of `sd_notify`: a datagram of `NAME=value` lines to the socket that the manager names
//! in `NOTIFY_SOCKET`. Without one nothing is said, and nothing said is ever answered.

#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The manager, if there is one.
#[derive(Debug, Default)]
pub(super) struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl Manager {
    /// The manager that listens at `name`; one that begins with `@` is in the abstract namespace.
    pub(super) fn at(name: Option<&str>) -> Self {
        let address = name.and_then(|name| match name.strip_prefix('@') {
            #[cfg(target_os = "linux")]
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            _ => SocketAddr::from_pathname(name).ok(),
        });
        let socket = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        Self { socket }
    }

    fn say(&self, state: &str) {
        let Some((socket, address)) = &self.socket else {
            return;
        };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::warn!(%error, "the service manager cannot be told anything");
        }
    }

    /// Requests are served, by this process.
    pub(super) fn ready(&self) {
        self.say(&format!(
            "READY=1\nMAINPID={}\nSTATUS=serving",
            std::process::id()
        ));
    }

    /// The gateway ends: no other process goes on.
    pub(super) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=requests in flight are finished");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn the_manager_hears_which_process_serves_and_when_it_ends() {
        let name = format!("weir-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let _ = std::fs::remove_file(&path);
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, at) in [
            (
                UnixDatagram::bind(&path).unwrap(),
                path.display().to_string(),
            ),
            (
                UnixDatagram::bind_addr(&abstract_name).unwrap(),
                format!("@{name}"),
            ),
        ] {
            let manager = Manager::at(Some(&at));
            manager.ready();
            let text = heard(&socket);
            let pid = format!("MAINPID={}", std::process::id());
            assert!(text.lines().any(|line| line == pid), "{text}");
            assert!(text.starts_with("READY=1\n"), "{text}");
            manager.stopping();
            assert!(heard(&socket).starts_with("STOPPING=1\n"));
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn without_a_manager_nothing_is_said() {
        for name in [None, Some(""), Some("/no/such/socket")] {
            Manager::at(name).ready();
        }
    }
}
