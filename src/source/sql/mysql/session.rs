//! A session in which the user's SQL means what it means in any other client.

use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlStatement};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, SqlSafeStr};
use url::Url;

use crate::source::error::SourceError;
use crate::sql::Dialect;

/// The collation that the driver names when it connects.
const INITIAL: &str = "utf8mb4_general_ci";

/// The options of a URL, without anything that the driver would set in the session by itself.
pub(super) fn options(url: &SecretString) -> Result<MySqlConnectOptions, SourceError> {
    // The driver's own errors quote values.
    let wrong =
        || SourceError::Unusable("the MySQL URL cannot be read: check its host, port and parameters".to_owned());
    let options = MySqlConnectOptions::from_str(url.expose_secret()).map_err(|_| wrong())?;
    let url = Url::parse(url.expose_secret()).map_err(|_| wrong())?;
    let asks = |names: &[&str]| url.query_pairs().any(|(name, _)| names.contains(&&*name));
    let names_collation = asks(&["collation"]);
    let names_zone = asks(&["timezone", "time-zone"]);
    let options = options
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .charset("utf8mb4")
        .set_names(names_collation)
        .disable_statement_logging();
    Ok(if names_zone { options } else { options.timezone(None) })
}

/// Undoes what the driver always sets, and makes texts arrive as UTF-8. Returns how the session reads SQL.
pub(super) async fn prepare(connection: &mut MySqlConnection) -> Result<Dialect, sqlx::Error> {
    let ask = "select cast(@@session.sql_mode as char), cast(@@global.sql_mode as char), \
               cast(@@session.collation_connection as char)";
    let (mode, global, collation): (String, String, String) = sqlx::query_as(ask).fetch_one(&mut *connection).await?;
    let modes = || mode.split(',').filter(|mode| !mode.is_empty());
    // The driver sets IGNORE_SPACE, which makes the names of functions reserved words.
    if mode != global && modes().filter(|mode| *mode != "IGNORE_SPACE").eq(global.split(',').filter(|m| !m.is_empty()))
    {
        connection.execute("set session sql_mode = @@global.sql_mode").await?;
    }
    let texts = if collation == INITIAL {
        // The server's own collation of this character set, as for its own client.
        "set names utf8mb4"
    } else {
        "set character_set_client = utf8mb4, character_set_results = utf8mb4"
    };
    connection.execute(AssertSqlSafe(texts.to_owned())).await?;
    let has = |name: &str| modes().any(|mode| mode == name);
    Ok(Dialect::Mysql { backslashes: !has("NO_BACKSLASH_ESCAPES"), ansi_quotes: has("ANSI_QUOTES") })
}

/// Prepares a statement on the server.
pub(super) async fn statement(connection: &mut MySqlConnection, sql: &str) -> Result<MySqlStatement, sqlx::Error> {
    connection.prepare(AssertSqlSafe(sql.to_owned()).into_sql_str()).await
}
