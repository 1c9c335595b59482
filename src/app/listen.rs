//! Where clients connect: the sockets, and the services behind them.
//!
//! Decides that this process binds its sockets itself, before it touches anything, or takes those
//! that another process hands over; Pingora is given them. What is served on which listener is
//! decided here too: with an admin listener of its own, the admin API is there and nowhere else.

use super::inner::Loop;
use super::leave::Connections;
use crate::admin::{Admin, Door};
use crate::answer::{Answer, Rest};
use crate::feed::Sink;
use crate::gateway::Gateway;
use crate::proxy::{Front, Local, Proxy};
use crate::settings::{Settings, Tls};
use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::apps::ServerApp;
use pingora_core::listeners::ListenerConfig;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::listening::Service;
use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents};
use pingora_proxy::HttpProxy;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{IntoRawFd as _, RawFd};
use std::sync::Arc;

/// Read buffer of a client connection: headers are small, bodies are read past it.
const READ_BUFFER: usize = 4 << 10;

/// Listening sockets by their addresses. Pingora owns them once it runs, and closes them when this
/// process is told to leave.
#[derive(Clone, Debug, Default)]
pub(super) struct Sockets(pub(super) Arc<Vec<(String, RawFd)>>);

impl Sockets {
    /// Takes the sockets that were handed over where there is one for an address, and binds the others.
    ///
    /// # Errors
    /// When an address is taken.
    pub(super) fn open(
        settings: &Settings,
        mut handed: Vec<(String, RawFd)>,
    ) -> anyhow::Result<Self> {
        let mut sockets = Vec::new();
        for address in settings.addresses() {
            let name = address.to_string();
            let found = handed.iter().position(|(handed, _)| *handed == name);
            let socket = match found {
                Some(index) => handed.swap_remove(index).1,
                None => bind(address)?,
            };
            sockets.push((name, socket));
        }
        for (name, socket) in handed {
            tracing::warn!(address = name, "no longer listened on");
            // An address that is not served must not look as if it were.
            nix::unistd::close(socket)?;
        }
        Ok(Self(Arc::new(sockets)))
    }

    /// The socket of one address alone.
    fn only(&self, address: SocketAddr) -> Self {
        let name = address.to_string();
        let found = self.0.iter().filter(|(socket, _)| *socket == name);
        Self(Arc::new(found.cloned().collect()))
    }
}

fn bind(address: SocketAddr) -> anyhow::Result<RawFd> {
    let bound = TcpListener::bind(address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        Ok(socket.into_raw_fd())
    });
    bound.with_context(|| format!("cannot listen on {address}"))
}

/// The certificate of the TLS listener, read and checked.
pub(super) struct Certificate {
    key: Arc<SingleCertAndKey>,
    h2: bool,
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them cannot be read, or they do not belong together.
    pub(super) fn read(tls: &Tls) -> anyhow::Result<Self> {
        let shown = || format!("TLS certificate {}", tls.cert.display());
        let chain: Vec<_> = CertificateDer::pem_file_iter(&tls.cert)
            .with_context(shown)?
            .collect::<Result<_, _>>()
            .with_context(shown)?;
        anyhow::ensure!(!chain.is_empty(), "{}: no certificate in it", shown());
        let key = PrivateKeyDer::from_pem_file(&tls.key)
            .with_context(|| format!("TLS key {}", tls.key.display()))?;
        let provider = rustls::crypto::ring::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider).with_context(shown)?;
        Ok(Self {
            key: Arc::new(SingleCertAndKey::from(certified)),
            h2: tls.h2,
        })
    }

    fn settings(&self) -> anyhow::Result<TlsSettings> {
        let failed = |error| anyhow::anyhow!("TLS: {error}");
        let mut settings = TlsSettings::intermediate("", "").map_err(failed)?;
        settings.set_cert_resolver(Arc::clone(&self.key) as _);
        if self.h2 {
            settings.enable_h2();
        }
        Ok(settings)
    }
}

/// The services, one for clients and one for the admin listener if there is one.
pub(super) fn services(
    gateway: &Arc<Gateway>,
    conf: &Arc<ServerConf>,
    sockets: &Sockets,
    certificate: Option<&Certificate>,
    connections: &Connections,
) -> anyhow::Result<Vec<Box<dyn ServiceWithDependents>>> {
    let listen = &gateway.settings.listen;
    let admin = Arc::new(Admin::new(gateway));
    admin.asks(Arc::new(Loop::new(gateway, conf)));
    let front = |routes: Routes| {
        let proxy = Proxy::new(Arc::clone(gateway), Arc::new(routes));
        let mut proxy = HttpProxy::new(proxy, Arc::clone(conf));
        proxy.handle_init_modules();
        let timeouts = &gateway.settings.timeouts;
        let connections = Arc::clone(&connections.0);
        Front::new(proxy, timeouts.header, timeouts.keepalive, connections)
    };
    let tcp = |address: SocketAddr| {
        ListenerConfig::tcp(address.to_string())
            .l4_buffer(L4BufferSettings::default().read(READ_BUFFER))
    };
    let routes = |part| Routes {
        admin: Arc::clone(&admin),
        part,
    };
    let part = match listen.admin {
        Some(_) => Part::Clients,
        None => Part::Everything,
    };
    let mut public = Service::new("weir".to_owned(), front(routes(part)));
    public.add_listener(tcp(listen.http));
    if let (Some(tls), Some(certificate)) = (&listen.tls, certificate) {
        let settings = certificate.settings()?;
        public.add_tls_with_settings(&tls.address.to_string(), None, settings);
    }
    let mut services: Vec<Box<dyn ServiceWithDependents>> = vec![Box::new(Listening {
        service: public,
        sockets: sockets.clone(),
    })];
    if let Some(address) = listen.admin {
        let mut service = Service::new("admin".to_owned(), front(routes(Part::Admin)));
        service.threads = Some(1);
        service.add_listener(tcp(address));
        let sockets = sockets.only(address);
        services.push(Box::new(Listening { service, sockets }));
    }
    if let Some(address) = gateway.settings.orchestrator.listen {
        let part = Part::Orchestrator {
            operators: listen.admin.is_none(),
        };
        let mut service = Service::new("orchestrator".to_owned(), front(routes(part)));
        service.add_listener(tcp(address));
        let sockets = sockets.only(address);
        services.push(Box::new(Listening { service, sockets }));
    }
    if let Some(address) = gateway.settings.events.websocket {
        let watching = Watching(admin.door());
        let mut service = Service::new("events".to_owned(), watching);
        service.threads = Some(1);
        service.add_listener(ListenerConfig::tcp(address.to_string()));
        let sockets = sockets.only(address);
        services.push(Box::new(Listening { service, sockets }));
        let tally = gateway.feed.tally(Sink::WebSocket);
        tally.begin();
        tally.is_up(true);
    }
    Ok(services)
}

/// The connections of whoever watches.
struct Watching(Door);

#[async_trait]
impl ServerApp for Watching {
    async fn process_new(self: &Arc<Self>, stream: Stream, _: &ShutdownWatch) -> Option<Stream> {
        let digest = stream.get_socket_digest();
        let peer = digest.as_ref().and_then(|digest| digest.peer_addr());
        let peer = peer.and_then(|peer| peer.as_inet()).map(SocketAddr::ip);
        self.0.serve(stream, peer).await;
        None
    }
}

/// A service whose sockets are there already.
struct Listening<A> {
    service: Service<A>,
    sockets: Sockets,
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServiceWithDependents for Listening<A> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready_notifier: ServiceReadyNotifier,
    ) {
        if let Some(table) = &fds {
            let mut table = table.lock();
            for (address, socket) in self.sockets.0.iter() {
                table.add(address.clone(), *socket);
            }
        }
        let start = ServiceWithDependents::start_service(
            &mut self.service,
            fds,
            shutdown,
            listeners_per_fd,
            ready_notifier,
        );
        start.await;
    }

    fn name(&self) -> &str {
        ServiceWithDependents::name(&self.service)
    }

    fn threads(&self) -> Option<usize> {
        ServiceWithDependents::threads(&self.service)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        ServiceWithDependents::listen_addresses(&self.service)
    }
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Everything,
    /// Everything but the admin API.
    Clients,
    /// The admin API, and health.
    Admin,
    /// The API Orchestrator's routes, those for operators where they are not elsewhere.
    Orchestrator {
        operators: bool,
    },
}

/// The routes of a listener that are answered inside the process.
struct Routes {
    admin: Arc<Admin>,
    part: Part,
}

#[async_trait]
impl Local for Routes {
    fn serves(&self, path: &str) -> bool {
        let here = match self.part {
            Part::Everything => true,
            Part::Clients => !Admin::is_for_operators(path),
            Part::Admin => Admin::is_for_operators(path) || path == "/health",
            // What is not there is said in the words of what is.
            Part::Orchestrator { .. } => return true,
        };
        here && Admin::serves(path)
    }

    fn beside_models(&self) -> bool {
        matches!(self.part, Part::Everything | Part::Clients)
    }

    fn takes_conversations(&self, path: &str) -> bool {
        Admin::takes_conversations(path)
    }

    async fn answer(
        &self,
        request: http::Request<Bytes>,
        peer: Option<IpAddr>,
    ) -> (Answer, Option<Rest>) {
        let path = request.uri().path();
        if let Part::Orchestrator { operators } = self.part
            && !(Admin::is_of_orchestrator(path) && (operators || !Admin::is_for_operators(path)))
        {
            return (Admin::nothing_at(path), None);
        }
        self.admin.answer(request, peer).await
    }
}
