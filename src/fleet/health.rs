//! Tells over HTTP how a worker is: `/healthz` answers as long as it runs, `/readyz` says whether it is connected to NATS.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use super::nats::Nats;

/// The connections of a worker, with the job that each is for.
type Connections = Arc<Vec<(String, Arc<Nats>)>>;

/// Answers for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, connections: Vec<(String, Arc<Nats>)>) -> io::Result<()> {
    let app = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(Arc::new(connections));
    axum::serve(listener, app).await
}

async fn ready(State(connections): State<Connections>) -> (StatusCode, String) {
    let cut: Vec<String> = connections
        .iter()
        .filter(|(_, nats)| !nats.is_connected())
        .map(|(job, _)| format!("{job}: no connection to NATS\n"))
        .collect();
    if cut.is_empty() { (StatusCode::OK, "ok\n".to_owned()) } else { (StatusCode::SERVICE_UNAVAILABLE, cut.concat()) }
}
