//! A network that fails exactly when a commit is under way.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// What happens to the next `COMMIT` that a client sends. Everything before and after it passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trap {
    /// The server never hears of it; both sides see the connection end.
    Before,
    /// The server obeys; its answer never arrives.
    After,
    /// The server never hears of it and keeps waiting: only the client sees the connection end.
    Silence,
}

/// A relay of TCP connections to a Postgres without TLS.
pub(crate) struct Proxy {
    port: u16,
    trap: Arc<Mutex<Option<Trap>>>,
}

impl Proxy {
    /// A relay to the server of this URL.
    pub(crate) async fn to(url: &str) -> Self {
        let target = Url::parse(url).unwrap();
        let target = (target.host_str().unwrap().to_owned(), target.port().unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let trap = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&trap);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&target).await.unwrap();
                tokio::spawn(relay(client, server, Arc::clone(&shared)));
            }
        });
        Self { port, trap }
    }

    /// The same URL, through this relay.
    pub(crate) fn url(&self, url: &str) -> String {
        let mut url = Url::parse(url).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.query_pairs_mut().append_pair("sslmode", "disable");
        url.into()
    }

    /// Sets a trap for the next commit.
    pub(crate) fn set(&self, trap: Trap) {
        *self.trap.lock().unwrap() = Some(trap);
    }

    /// Whether no trap is set: the last one was sprung.
    pub(crate) fn sprung(&self) -> bool {
        self.trap.lock().unwrap().is_none()
    }
}

async fn relay(client: TcpStream, server: TcpStream, trap: Arc<Mutex<Option<Trap>>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut request = vec![0; 64 * 1024];
    let mut answer = vec![0; 64 * 1024];
    loop {
        tokio::select! {
            read = from_client.read(&mut request) => {
                let Ok(length @ 1..) = read else { return };
                let commits = request[..length].windows(7).any(|piece| piece.eq_ignore_ascii_case(b"COMMIT\0"));
                let sprung = if commits { trap.lock().unwrap().take() } else { None };
                match sprung {
                    None => {
                        if to_server.write_all(&request[..length]).await.is_err() {
                            return;
                        }
                    }
                    Some(Trap::Before) => return,
                    Some(Trap::After) => {
                        to_server.write_all(&request[..length]).await.unwrap();
                        assert_ne!(from_server.read(&mut answer).await.unwrap(), 0);
                        return;
                    }
                    Some(Trap::Silence) => {
                        drop((from_client, to_client));
                        // Until the server gives up.
                        while !matches!(from_server.read(&mut answer).await, Ok(0) | Err(_)) {}
                        return;
                    }
                }
            }
            read = from_server.read(&mut answer) => {
                let Ok(length @ 1..) = read else { return };
                if to_client.write_all(&answer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
