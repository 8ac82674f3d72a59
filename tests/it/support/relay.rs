//! A network that can be cut: a relay of TCP connections. While it is cut, nothing passes and nothing is refused, as where
//! packets get lost. Once it is healed, what waited passes.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LOOK: Duration = Duration::from_millis(10);

/// A relay to one server.
pub(crate) struct Relay {
    address: String,
    is_cut: Arc<AtomicBool>,
}

impl Relay {
    /// A relay to the server at `host:port`.
    pub(crate) fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (server, is_cut) = (server.to_owned(), Arc::new(AtomicBool::new(false)));
        let shared = Arc::clone(&is_cut);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), server, is_cut) = (client, server.clone(), Arc::clone(&shared)) else { continue };
                std::thread::spawn(move || {
                    wait(&is_cut);
                    let Ok(server) = TcpStream::connect(server) else { return };
                    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                    let both = Arc::clone(&is_cut);
                    std::thread::spawn(move || pump(from, to, &both));
                    pump(server, client, &is_cut);
                });
            }
        });
        Self { address, is_cut }
    }

    /// Its own address, `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Cuts the network, or heals it.
    pub(crate) fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::SeqCst);
    }
}

fn wait(is_cut: &AtomicBool) {
    while is_cut.load(Ordering::SeqCst) {
        std::thread::sleep(LOOK);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, is_cut: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        wait(is_cut);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    wait(is_cut);
    for side in [from, to] {
        side.shutdown(Shutdown::Both).ok();
    }
}
