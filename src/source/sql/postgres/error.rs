//! What can go wrong with a Postgres server.

use crate::source::error::SourceError;

/// What can go wrong with a server.
#[derive(Debug, thiserror::Error)]
pub(super) enum PgError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{}", message(.0))]
    Server(#[from] tokio_postgres::Error),
    #[error("{0}")]
    Other(String),
}

impl PgError {
    /// The server's code for it; empty if the error is not the server's.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Server(error) => error.code().map_or("", |state| state.code()),
            Self::Io(_) | Self::Other(_) => "",
        }
    }

    /// Whether nobody answered, or the server is only starting.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Io(_) => true,
            Self::Server(error) => error.as_db_error().is_none() || self.code() == "57P03",
            Self::Other(_) => false,
        }
    }
}

fn message(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(error), _) => error.message().to_owned(),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}

/// What an error of a server means.
pub(super) fn explain(server: &str, error: PgError) -> SourceError {
    match error.code() {
        "42501" => SourceError::Denied(format!("{server}: {error}")),
        "25006" => SourceError::Unusable(format!("{server}: query: it must only read: {error}")),
        "0A000" => SourceError::Unusable(format!("{server}: query: {error}")),
        "3D000" => SourceError::Unusable(format!("{server}: {error}")),
        code if code.starts_with("28") => SourceError::Denied(format!("{server}: {error}")),
        code if code.starts_with("42") => SourceError::Unusable(format!("{server}: query: {error}")),
        "" => match error {
            PgError::Other(what) => SourceError::Unusable(format!("{server}: {what}")),
            error => SourceError::failed(format!("{server}: the connection failed"), error),
        },
        _ => SourceError::failed(format!("{server}: query failed"), error),
    }
}
