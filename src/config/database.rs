//! URLs of databases: kept where they are until needed, and checked without ever being quoted.

use std::marker::PhantomData;

use secrecy::ExposeSecret as _;
use url::Url;

use super::mistake::{ConfigError, is_name, nearest};
use super::secret::{Kind, Secret};

/// A kind of database server.
pub(super) trait Engine {
    /// What its URLs look like.
    const FORM: &'static str;
    const SCHEMES: &'static [&'static str];
    const PORT: u16;
    /// The parameters that mean something. The drivers would pass over others, or log them with their values.
    const PARAMETERS: &'static [&'static str];
    /// The values of `sslmode`.
    const SSL_MODES: &'static [&'static str];

    /// Whether a parameter that is not among these has a meaning too, or else why a value cannot be used.
    fn parameter(_name: &str, _value: &str) -> Result<bool, &'static str> {
        Ok(false)
    }
}

/// Postgres.
pub(super) struct Postgres;

impl Engine for Postgres {
    const SSL_MODES: &'static [&'static str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    const FORM: &'static str = "postgres://user@host:5432/database";
    const SCHEMES: &'static [&'static str] = &["postgres", "postgresql"];
    const PORT: u16 = 5432;
    const PARAMETERS: &'static [&'static str] = &[
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
    ];

    fn parameter(name: &str, _: &str) -> Result<bool, &'static str> {
        Ok(name.starts_with("options["))
    }
}

/// MySQL or MariaDB.
pub(super) struct Mysql;

impl Engine for Mysql {
    const SSL_MODES: &'static [&'static str] = &["disabled", "preferred", "required", "verify_ca", "verify_identity"];
    const FORM: &'static str = "mysql://user@host:3306/database";
    const SCHEMES: &'static [&'static str] = &["mysql", "mariadb"];
    const PORT: u16 = 3306;
    const PARAMETERS: &'static [&'static str] = &[
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
    ];

    fn parameter(name: &str, value: &str) -> Result<bool, &'static str> {
        if name == "charset" && !matches!(value, "utf8mb4" | "utf8") {
            return Err("has a charset that is not utf8mb4: texts are read as UTF-8, whatever their columns hold");
        }
        Ok(false)
    }
}

/// The URL of a database.
pub(super) struct DatabaseUrl<E>(PhantomData<E>);

impl<E: Engine> Kind for DatabaseUrl<E> {
    const FORM: &'static str = "URL";

    fn literal(text: &str) -> Result<(), String> {
        let url = form::<E>(text)?;
        let named = url.query_pairs().any(|(name, _)| name.eq_ignore_ascii_case("password"));
        if url.password().is_some() || named || is_cut(&url) || has_stray_at(&url) {
            return Err("a URL with a password never stands in this file: write env:NAME or file:PATH, \
                        and if it was the real one, change it"
                .to_owned());
        }
        check_parameters::<E>(&url)
    }

    fn check(text: &str) -> Result<(), String> {
        check::<E>(text).map(|_| ())
    }
}

/// The database of a URL without credentials: `host:port/database`.
pub(super) fn place<E: Engine>(url: &Secret) -> Result<String, ConfigError> {
    check::<E>(url.look_up()?.expose_secret()).map(|url| place_of::<E>(&url)).map_err(|message| url.error(message))
}

fn check<E: Engine>(text: &str) -> Result<Url, String> {
    let url = form::<E>(text)?;
    if is_cut(&url) {
        return Err("has an @ or # after its host: within a password write / as %2F, # as %23, ? as %3F".to_owned());
    }
    check_parameters::<E>(&url)?;
    Ok(url)
}

/// Whether a password with a character that a URL must escape cut the URL short: its end then reads as path or fragment.
fn is_cut(url: &Url) -> bool {
    url.path().contains('@') || url.fragment().is_some()
}

fn form<E: Engine>(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| E::SCHEMES.contains(&url.scheme()) && !url.cannot_be_a_base());
    url.ok_or_else(|| format!("is no URL of the form {}", E::FORM))
}

/// Whether an `@` stands behind the `?`, as it does when a password with a `?` cut the URL short.
fn has_stray_at(url: &Url) -> bool {
    url.query().is_some_and(|query| query.contains('@'))
}

/// What is wrong with the value of a parameter. The drivers would quote it.
fn wrong_value<E: Engine>(name: &str, value: &str) -> Option<String> {
    match name {
        "sslmode" | "ssl-mode" if !E::SSL_MODES.contains(&&*value.to_ascii_lowercase()) => {
            Some(format!("is unknown: write one of {}", E::SSL_MODES.join(", ")))
        }
        "port" | "statement-cache-capacity" if value.parse::<u16>().is_err() => Some("is no number".to_owned()),
        "hostaddr" if value.parse::<std::net::IpAddr>().is_err() => Some("is no IP address".to_owned()),
        _ => None,
    }
}

/// A parameter without effect would be a setting that its writer believes in.
fn check_parameters<E: Engine>(url: &Url) -> Result<(), String> {
    for (name, value) in url.query_pairs() {
        if E::parameter(&name, &value)? || E::PARAMETERS.contains(&&*name) {
            if let Some(why) = wrong_value::<E>(&name, &value) {
                return Err(format!("has a value of `{name}` that {why}"));
            }
            continue;
        }
        if has_stray_at(url) {
            return Err(
                "has an @ after its `?`: within a password write ? as %3F, within a parameter @ as %40".to_owned()
            );
        }
        let named =
            if is_name(&name) { format!("the parameter `{name}`, which") } else { "a parameter that".to_owned() };
        let right = match nearest(&name, E::PARAMETERS) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("known are {}", E::PARAMETERS.join(", ")),
        };
        return Err(format!("has {named} is unknown: {right}"));
    }
    Ok(())
}

fn place_of<E: Engine>(url: &Url) -> String {
    let mut host = url.host_str().unwrap_or_default().to_lowercase().replace("%2f", "/");
    let mut port = url.port().unwrap_or(E::PORT).to_string();
    let mut database = url.path().trim_start_matches('/').to_owned();
    let mut user = url.username().to_owned();
    for (name, value) in url.query_pairs() {
        match &*name {
            "host" | "hostaddr" | "socket" => host = value.into_owned(),
            "port" => port = value.into_owned(),
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
    format!("{host}:{port}/{database}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_cuts_its_url_is_told_without_being_shown() {
        for text in ["postgres://u:12/hunter2@db/refs", "postgres://u:12#hunter2@db/refs"] {
            let message = check::<Postgres>(text).expect_err("a mistake");
            assert!(message.contains("%2F") && !message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_told_by_its_name_and_never_with_a_value() {
        let mysql = |text| check::<Mysql>(text).expect_err("a mistake");
        let postgres = |text| check::<Postgres>(text).expect_err("a mistake");
        for (message, expected) in [
            (mysql("mysql://db/refs?ssl_mode=hunter2"), "`ssl_mode`, which is unknown: did you mean `sslmode`?"),
            (mysql("mysql://db/refs?time_zone=hunter2"), "`time_zone`, which is unknown: did you mean `timezone`?"),
            (mysql("mysql://db/refs?useSSL=hunter2"), "`useSSL`, which is unknown"),
            (mysql("mysql://db/refs?charset=hunter2"), "a charset that is not utf8mb4"),
            (mysql("mysql://db/refs?ssl-mode=hunter2"), "a value of `ssl-mode` that is unknown: write one of"),
            (
                postgres("postgres://db/refs?sslmode=hunter2"),
                "a value of `sslmode` that is unknown: write one of disable,",
            ),
            (postgres("postgres://db/refs?port=hunter2"), "a value of `port` that is no number"),
            (postgres("postgres://db/refs?hostaddr=hunter2"), "a value of `hostaddr` that is no IP address"),
            (postgres("postgres://db/refs?TimeZone=hunter2"), "`TimeZone`, which is unknown: known are sslmode,"),
            (postgres("postgres://db/refs?h%20u=hunter2"), "has a parameter that is unknown"),
            (postgres("postgres://u:12?hunter2=x@db/refs"), "write ? as %3F"),
        ] {
            assert!(message.contains(expected) && !message.contains("hunter2"), "{message}");
        }
        let all = "mysql://db/refs?charset=utf8&collation=utf8mb4_bin&time-zone=SYSTEM&socket=/run/x";
        assert!(check::<Mysql>(all).is_ok());
        assert!(check::<Postgres>("postgres://db/refs?options[timezone]=UTC&application_name=a@b").is_ok());
        assert!(check::<Postgres>("postgres://db/refs?sslmode=VERIFY-full&port=5432").is_ok());
        assert!(check::<Mysql>("mysql://db/refs?sslmode=VERIFY_CA").is_ok());
    }

    #[test]
    fn a_place_has_no_credentials_and_spells_defaults_out() {
        let place = |text: &str| place_of::<Postgres>(&check::<Postgres>(text).expect("a URL"));
        assert_eq!(place("postgres://u:p@Db.Example/archive?sslmode=require"), "db.example:5432/archive");
        assert_eq!(place("postgresql://u:p@db.example:6543/archive"), "db.example:6543/archive");
        assert_eq!(place("postgres:///archive?host=/run/postgresql&password=p"), "/run/postgresql:5432/archive");
        assert_eq!(place("postgres://%2Frun%2Fpg/archive"), "/run/pg:5432/archive");
        assert_eq!(place("postgres://me@db"), "db:5432/me");
    }
}
