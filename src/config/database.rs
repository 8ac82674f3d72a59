//! URLs of databases: kept where they are until needed, and checked without ever being quoted.

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::mistake::Mistake;
use super::reading::Reading;
use super::secret::{Environment, Reference};
use super::written::{Leaf, Position};

/// A database server's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Postgres.
    Postgres,
    /// MySQL or MariaDB.
    Mysql,
}

impl Engine {
    fn form(self) -> &'static str {
        match self {
            Self::Postgres => "postgres://user@host:5432/database",
            Self::Mysql => "mysql://user@host:3306/database",
        }
    }

    /// The parameters that the driver knows. It would log others, with their values.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &[
                "sslmode",
                "ssl-mode",
                "sslrootcert",
                "ssl-root-cert",
                "ssl-ca",
                "sslcert",
                "ssl-cert",
                "sslkey",
                "ssl-key",
                "statement-cache-capacity",
                "host",
                "hostaddr",
                "port",
                "dbname",
                "user",
                "password",
                "application_name",
                "options",
            ],
            Self::Mysql => &[],
        }
    }
}

/// The URL of a database; see [`Config::url`](super::Config::url).
#[derive(Debug, Clone)]
pub struct DatabaseUrl {
    reference: Reference,
    engine: Engine,
}

impl DatabaseUrl {
    pub(super) fn read(
        reading: &mut Reading<'_>,
        leaf: &Leaf,
        engine: Engine,
        parent: Position,
        key: &str,
    ) -> Option<Self> {
        let right = format!("the database's URL, {}, or env:NAME or file:PATH of it", engine.form());
        let reference = reading.reference(leaf, parent, key, &right, |text| {
            let url = form(text, engine)?;
            let named = url.query_pairs().any(|(name, _)| name.eq_ignore_ascii_case("password"));
            let stray = is_cut(&url) || url.query().is_some_and(|query| query.contains('@'));
            if url.password().is_some() || named || stray {
                return Err("a URL with a password never stands in this file: write env:NAME or file:PATH, \
                            and if it was the real one, change it"
                    .to_owned());
            }
            Ok(())
        });
        reference.map(|reference| Self { reference, engine })
    }

    pub(super) fn resolve(&self, environment: &Environment) -> Result<SecretString, Mistake> {
        let url = self.reference.resolve(environment)?;
        check(url.expose_secret(), self.engine).map_err(|message| self.reference.mistake(message))?;
        Ok(url)
    }

    /// The database without credentials: `host:port/database`.
    pub(super) fn place(&self, environment: &Environment) -> Result<String, Mistake> {
        let url = self.reference.resolve(environment)?;
        let url = check(url.expose_secret(), self.engine).map_err(|message| self.reference.mistake(message))?;
        Ok(place(&url, self.engine))
    }

    /// Whether both are written alike.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.reference.same(&other.reference)
    }
}

fn check(text: &str, engine: Engine) -> Result<Url, String> {
    let url = form(text, engine)?;
    if is_cut(&url) {
        return Err("has an @ or # after its host: within a password write / as %2F, # as %23, ? as %3F".to_owned());
    }
    Ok(url)
}

/// Whether a password with a character that a URL must escape cut the URL short: its end then reads as path or fragment.
fn is_cut(url: &Url) -> bool {
    url.path().contains('@') || url.fragment().is_some()
}

fn form(text: &str, engine: Engine) -> Result<Url, String> {
    let wrong = || format!("is no URL of the form {}", engine.form());
    let url = Url::parse(text).map_err(|_| wrong())?;
    let fits = match engine {
        Engine::Postgres => matches!(url.scheme(), "postgres" | "postgresql"),
        Engine::Mysql => matches!(url.scheme(), "mysql" | "mariadb"),
    };
    if !fits || url.cannot_be_a_base() {
        return Err(wrong());
    }
    let known = engine.parameters();
    let is_known = |name: &str| known.is_empty() || known.contains(&name) || name.starts_with("options[");
    if url.query_pairs().any(|(name, _)| !is_known(&name)) {
        return Err(format!("has a parameter after `?` that is unknown: known are {}", known.join(", ")));
    }
    Ok(url)
}

fn place(url: &Url, engine: Engine) -> String {
    let mut host = url.host_str().unwrap_or_default().to_lowercase().replace("%2f", "/");
    let mut port = url.port().map(|port| port.to_string());
    let mut database = url.path().trim_start_matches('/').to_owned();
    let mut user = url.username().to_owned();
    for (name, value) in url.query_pairs() {
        match &*name {
            "host" | "hostaddr" | "socket" => host = value.into_owned(),
            "port" => port = Some(value.into_owned()),
            "dbname" => database = value.into_owned(),
            "user" => user = value.into_owned(),
            _ => {}
        }
    }
    if host.is_empty() {
        "localhost".clone_into(&mut host);
    }
    // A database that is not named is the user's.
    if database.is_empty() {
        database = user;
    }
    let port = port.unwrap_or_else(|| if engine == Engine::Postgres { "5432" } else { "3306" }.to_owned());
    format!("{host}:{port}/{database}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_cuts_its_url_is_told_without_being_shown() {
        for text in ["postgres://u:12/hunter2@db/refs", "postgres://u:12#hunter2@db/refs"] {
            let message = check(text, Engine::Postgres).expect_err("a mistake");
            assert!(message.contains("%2F") && !message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn a_place_has_no_credentials_and_spells_defaults_out() {
        let place = |text: &str| place(&check(text, Engine::Postgres).expect("a URL"), Engine::Postgres);
        assert_eq!(place("postgres://u:p@Db.Example/archive?sslmode=require"), "db.example:5432/archive");
        assert_eq!(place("postgresql://u:p@db.example:6543/archive"), "db.example:6543/archive");
        assert_eq!(place("postgres:///archive?host=/run/postgresql&password=p"), "/run/postgresql:5432/archive");
        assert_eq!(place("postgres://%2Frun%2Fpg/archive"), "/run/pg:5432/archive");
        assert_eq!(place("postgres://me@db"), "db:5432/me");
    }
}
