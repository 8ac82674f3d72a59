//! Asynchronous requests from threads that may block, whether they belong to a runtime or not.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

/// The threads of connections to object stores. They are not those of the command, whose threads may wait for them.
pub(super) fn connections() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let threads = Builder::new_multi_thread().worker_threads(2).thread_name("object-store").enable_all().build();
        threads.expect("the system has two more threads")
    });
    runtime.handle()
}

/// Waits for an answer on this thread.
pub(super) fn wait<T>(answer: impl Future<Output = T>) -> T {
    let _connections = connections().enter();
    // The budget of a task of the command would never be renewed here.
    futures_executor::block_on(tokio::task::unconstrained(answer))
}
