//! A simulated Yunxin API on loopback, written from the API's documentation alone.
//!
//! It shares no code with the client that it tests: it has its own idea of signatures, conversations, answers and codes, so
//! that a misreading on one side shows. [`start`] serves on a thread of its own, from synchronous and
//! asynchronous callers alike:
//!
//! ```
//! use yunxin_archiver::simulator::{Message, Settings, World, start_with};
//!
//! let mut world = World::explicit();
//! world.insert(Message::text("alice|1|bob", 158_844_553_334_358_018, 1_753_951_805_248, "hello"));
//! let service = start_with(Settings::default(), world)?;
//! assert!(service.url().starts_with("http://127.0.0.1:"));
//! service.faults(|faults| faults.script.extend(["503".parse().unwrap(), "reset".parse().unwrap()]));
//! assert_eq!(service.stats().requests, 0);
//! service.stop();
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Besides the API itself, `GET {prefix}/simulator/stats` answers [`Stats`] as JSON.
//!
//! A batch request is judged in this order: app key (code 101303), quota (416), faults, signature and clock (414),
//! repeated trace ID (431), body and batch size (414 or 419), conversation ID (414), then the [`World`].

mod answer;
mod conversation;
mod demo;
mod fault;
mod faults;
mod generated;
mod line;
mod message;
mod phrases;
mod quirk;
mod quota;
mod references;
mod request;
mod server;
mod settings;
mod stats;
mod wire;
mod world;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

pub use demo::{DemoWorld, Expected};
pub use fault::{Fault, UnknownFault};
pub use faults::{Faults, Hook, RequestInfo, Rule};
pub use message::{Echo, Fate, Message};
pub use quirk::Quirk;
pub use references::{Order, ReferenceShape, write_references};
pub use settings::{APP_KEY, APP_SECRET, App, Settings};
pub use stats::Stats;
pub use world::{Kind, World};

use server::Service;

/// A running service. Dropping it stops it.
#[derive(Debug)]
pub struct Handle {
    addr: SocketAddr,
    prefix: String,
    service: Arc<Service>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a service with the world that its settings describe.
///
/// # Errors
///
/// The port is taken, or the file of messages is wrong.
pub fn start(settings: Settings) -> io::Result<Handle> {
    let world = settings.world()?;
    start_with(settings, world)
}

/// Starts a service with this world, and ignores what the settings say about one.
///
/// # Errors
///
/// The port is taken.
pub fn start_with(settings: Settings, world: World) -> io::Result<Handle> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, settings.port))?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let prefix = settings.prefix.trim_end_matches('/').to_owned();
    let service = Arc::new(Service::new(settings, world));
    let (stop, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = Arc::clone(&service);
    let thread = thread::Builder::new().name("simulator".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            tokio::select! {
                _ = served.serve(listener) => {}
                _ = stopped => {}
            }
        });
        // Stalled answers never end by themselves.
        runtime.shutdown_background();
    })?;
    Ok(Handle { addr, prefix, service, stop: Some(stop), thread: Some(thread) })
}

impl Handle {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The endpoint to give to a client, prefix included, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.addr, self.prefix)
    }

    /// What it has seen so far.
    pub fn stats(&self) -> Stats {
        self.service.now().stats.clone()
    }

    /// Forgets what it has seen, and lifts a block.
    pub fn reset_stats(&self) {
        self.service.reset();
    }

    /// Changes what goes wrong from now on.
    pub fn faults<R>(&self, change: impl FnOnce(&mut Faults) -> R) -> R {
        change(&mut self.service.now().faults)
    }

    /// Changes which messages exist.
    pub fn world<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        change(&mut self.service.now().world)
    }

    /// Stops it: connections are closed in the middle of whatever they do.
    pub fn stop(self) {}
}

impl Drop for Handle {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The server's thread does not panic; if it did, there is nothing left to stop.
            let _ = thread.join();
        }
    }
}
