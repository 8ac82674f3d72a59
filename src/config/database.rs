//! URLs of databases: kept where they are until needed, and checked without ever being quoted.

use secrecy::ExposeSecret as _;
use url::Url;

use super::environment::Environment;
use super::mistake::{Mistake, is_name, nearest};
use super::secret::{Kind, Secret};

/// A database server's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
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

    /// The parameters that mean something. The drivers would pass over others, or log them with their values.
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
            Self::Mysql => &[
                "sslmode",
                "ssl-mode",
                "sslca",
                "ssl-ca",
                "sslcert",
                "ssl-cert",
                "sslkey",
                "ssl-key",
                "statement-cache-capacity",
                "socket",
                "charset",
                "collation",
                "timezone",
                "time-zone",
            ],
        }
    }
}

/// The URL of a Postgres database.
pub(super) type PostgresUrl = DatabaseUrl<true>;

/// The URL of a MySQL or MariaDB database.
pub(super) type MysqlUrl = DatabaseUrl<false>;

/// The URL of a database.
pub(super) struct DatabaseUrl<const IS_POSTGRES: bool>;

impl<const IS_POSTGRES: bool> DatabaseUrl<IS_POSTGRES> {
    const ENGINE: Engine = if IS_POSTGRES { Engine::Postgres } else { Engine::Mysql };
}

impl<const IS_POSTGRES: bool> Kind for DatabaseUrl<IS_POSTGRES> {
    const FORM: &'static str = "URL";

    fn literal(text: &str) -> Result<(), String> {
        let url = form(text, Self::ENGINE)?;
        let named = url.query_pairs().any(|(name, _)| name.eq_ignore_ascii_case("password"));
        if url.password().is_some() || named || is_cut(&url) || has_stray_at(&url) {
            return Err("a URL with a password never stands in this file: write env:NAME or file:PATH, \
                        and if it was the real one, change it"
                .to_owned());
        }
        check_parameters(&url, Self::ENGINE)
    }

    fn check(text: &str) -> Result<(), String> {
        check(text, Self::ENGINE).map(|_| ())
    }
}

/// The database of a URL without credentials: `host:port/database`.
pub(super) fn place(url: &Secret, environment: &Environment) -> Result<String, Mistake> {
    let text = url.resolve(environment)?;
    let engine = if text.expose_secret().starts_with('p') { Engine::Postgres } else { Engine::Mysql };
    check(text.expose_secret(), engine).map(|url| place_of(&url, engine)).map_err(|message| url.mistake(message))
}

fn check(text: &str, engine: Engine) -> Result<Url, String> {
    let url = form(text, engine)?;
    if is_cut(&url) {
        return Err("has an @ or # after its host: within a password write / as %2F, # as %23, ? as %3F".to_owned());
    }
    check_parameters(&url, engine)?;
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
    Ok(url)
}

/// Whether an `@` stands behind the `?`, as it does when a password with a `?` cut the URL short.
fn has_stray_at(url: &Url) -> bool {
    url.query().is_some_and(|query| query.contains('@'))
}

/// A parameter without effect would be a setting that its writer believes in.
fn check_parameters(url: &Url, engine: Engine) -> Result<(), String> {
    let known = engine.parameters();
    for (name, value) in url.query_pairs() {
        if engine == Engine::Mysql && name == "charset" && !matches!(&*value, "utf8mb4" | "utf8") {
            return Err(
                "has a charset that is not utf8mb4: texts are read as UTF-8, whatever their columns hold".to_owned()
            );
        }
        if known.contains(&&*name) || engine == Engine::Postgres && name.starts_with("options[") {
            continue;
        }
        if has_stray_at(url) {
            return Err(
                "has an @ after its `?`: within a password write ? as %3F, within a parameter @ as %40".to_owned()
            );
        }
        let named =
            if is_name(&name) { format!("the parameter `{name}`, which") } else { "a parameter that".to_owned() };
        let right = match nearest(&name, known) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("known are {}", known.join(", ")),
        };
        return Err(format!("has {named} is unknown: {right}"));
    }
    Ok(())
}

fn place_of(url: &Url, engine: Engine) -> String {
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
    fn an_unknown_parameter_is_told_by_its_name_and_never_with_a_value() {
        for (engine, text, expected) in [
            (
                Engine::Mysql,
                "mysql://db/refs?ssl_mode=hunter2",
                "`ssl_mode`, which is unknown: did you mean `sslmode`?",
            ),
            (
                Engine::Mysql,
                "mysql://db/refs?time_zone=hunter2",
                "`time_zone`, which is unknown: did you mean `timezone`?",
            ),
            (Engine::Mysql, "mysql://db/refs?useSSL=hunter2", "`useSSL`, which is unknown"),
            (Engine::Mysql, "mysql://db/refs?charset=hunter2", "a charset that is not utf8mb4"),
            (
                Engine::Postgres,
                "postgres://db/refs?TimeZone=hunter2",
                "`TimeZone`, which is unknown: known are sslmode,",
            ),
            (Engine::Postgres, "postgres://db/refs?h%20u=hunter2", "has a parameter that is unknown"),
            (Engine::Postgres, "postgres://u:12?hunter2=x@db/refs", "write ? as %3F"),
        ] {
            let message = check(text, engine).expect_err("a mistake");
            assert!(message.contains(expected) && !message.contains("hunter2"), "{message}");
        }
        let all = "mysql://db/refs?charset=utf8&collation=utf8mb4_bin&time-zone=SYSTEM&socket=/run/x";
        assert!(check(all, Engine::Mysql).is_ok());
        assert!(check("postgres://db/refs?options[timezone]=UTC&application_name=a@b", Engine::Postgres).is_ok());
    }

    #[test]
    fn a_place_has_no_credentials_and_spells_defaults_out() {
        let place = |text: &str| place_of(&check(text, Engine::Postgres).expect("a URL"), Engine::Postgres);
        assert_eq!(place("postgres://u:p@Db.Example/archive?sslmode=require"), "db.example:5432/archive");
        assert_eq!(place("postgresql://u:p@db.example:6543/archive"), "db.example:6543/archive");
        assert_eq!(place("postgres:///archive?host=/run/postgresql&password=p"), "/run/postgresql:5432/archive");
        assert_eq!(place("postgres://%2Frun%2Fpg/archive"), "/run/pg:5432/archive");
        assert_eq!(place("postgres://me@db"), "db:5432/me");
    }
}
