//! Pingora as a plain pass-through on one thread: the floor for any gateway built on it.
//!
//! `bare-pingora LISTEN UPSTREAM`, for example `bare-pingora 127.0.0.1:9202 127.0.0.1:9100`.

use std::time::Duration;

use pingora::prelude::*;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;

struct Pass(HttpPeer);

#[async_trait::async_trait]
impl ProxyHttp for Pass {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.0.clone()))
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (args.next(), args.next()) else {
        eprintln!("usage: bare-pingora LISTEN UPSTREAM");
        std::process::exit(2);
    };
    let conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: 512,
        ..Default::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut peer = HttpPeer::new(upstream.as_str(), false, String::new());
    peer.options.idle_timeout = Some(Duration::from_secs(60));
    let mut service = http_proxy_service(&server.configuration, Pass(peer));
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever();
}
