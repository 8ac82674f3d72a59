//! The socket beneath the server, so that an answer can break in ways that a proper server would not let it.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// What happens to the bytes that the server writes on a connection from now on.
#[derive(Debug, Default)]
pub(super) enum Outgoing {
    /// They are sent.
    #[default]
    Pass,
    /// After this many more the connection ends, by a reset or as if everything had been sent.
    Cut { after: usize, reset: bool },
    /// These are sent instead, and then the connection ends.
    Instead { bytes: Vec<u8>, sent: usize },
}

/// Controls the connection that a request came in on.
#[derive(Clone, Default)]
pub(super) struct Line(Arc<Mutex<Outgoing>>);

impl Line {
    /// Sets what happens to everything that is written from now on.
    pub(super) fn set(&self, outgoing: Outgoing) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = outgoing;
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl Connected<IncomingStream<'_, Loopback>> for Line {
    fn connect_info(stream: IncomingStream<'_, Loopback>) -> Self {
        stream.remote_addr().clone()
    }
}

/// A listener whose connections the server controls.
pub(super) struct Loopback(pub(super) TcpListener);

impl Listener for Loopback {
    type Io = Wire;
    type Addr = Line;

    async fn accept(&mut self) -> (Wire, Line) {
        loop {
            match self.0.accept().await {
                Ok((stream, SocketAddr::V4(_) | SocketAddr::V6(_))) => {
                    // Without this a delayed acknowledgement would add 40 ms to answers of an odd size.
                    let _ = stream.set_nodelay(true);
                    let line = Line::default();
                    return (Wire { stream, line: line.clone() }, line);
                }
                // Too many open files, or a client that is gone already: neither ends the server.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Line> {
        Ok(Line::default())
    }
}

/// One connection.
pub(super) struct Wire {
    stream: TcpStream,
    line: Line,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, line } = self.get_mut();
        let mut outgoing = line.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *outgoing {
            Outgoing::Pass => Pin::new(stream).poll_write_vectored(cx, bufs),
            Outgoing::Cut { after: 0, reset } => {
                if *reset {
                    stream.set_zero_linger()?;
                }
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
            Outgoing::Cut { after, .. } => {
                let buf = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| &buf[..buf.len().min(*after)]);
                let written = ready!(Pin::new(stream).poll_write(cx, buf))?;
                *after -= written;
                Poll::Ready(Ok(written))
            }
            Outgoing::Instead { bytes, sent } => {
                while *sent < bytes.len() {
                    *sent += ready!(Pin::new(&mut *stream).poll_write(cx, &bytes[*sent..]))?;
                }
                ready!(Pin::new(stream).poll_shutdown(cx))?;
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
