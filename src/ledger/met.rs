//! Failures that the source names once more: repeated, corrected, or of a team and named by another owner.

use std::collections::HashMap;

use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use super::error::Fault;
use super::failures::{FailureState, class};
use super::statement::{IDS, json};
use super::{Ledger, LedgerError, run_id};
use crate::model::failure::Class;
use crate::model::reference::ConversationId;

/// A failure that is open or dismissed, to tell a duplicate from a correction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFailure {
    /// The message's ID.
    pub id: i64,
    /// The dialogue it was asked in.
    pub conversation_key: String,
    /// The create time it was asked with, milliseconds since the epoch.
    pub create_time: i64,
    /// Whether only a thread asked for it, and no reference.
    pub extra: bool,
    /// Whether it is open or dismissed; or pending again.
    pub state: FailureState,
    /// The kind.
    pub class: Class,
    /// The owners that its reference named, each asked in turn: the first, and those that later rows named.
    pub asked: Vec<String>,
    /// The run that met it last.
    pub last_run: Uuid,
}

impl Ledger {
    /// Those of `ids` that are open or dismissed failures, by ID. (Failures whose reference is pending again are only if
    /// they were asked under a further owner before.)
    pub async fn open_failures(&self, ids: &[i64]) -> Result<HashMap<i64, OpenFailure>, LedgerError> {
        let read = async {
            let mut found = HashMap::new();
            for some in ids.chunks(IDS) {
                let rows = sqlx::query(
                    "select message_server_id, key, create_time, depth > 0, state, conversation_id, class, asked, run_id
                     from failures indexed by failures_reference
                     where state < 2 and (state <> 1 or asked is not null) and class <> 'invalid'
                       and message_server_id in (select value from json_each(?))",
                )
                .bind(json(some))
                .fetch_all(&mut self.reader().await?.conn)
                .await?;
                for row in rows {
                    let id = row.try_get(0)?;
                    let failure = OpenFailure {
                        id,
                        conversation_key: row.try_get(1)?,
                        create_time: row.try_get(2)?,
                        extra: row.try_get(3)?,
                        state: FailureState::from_number(row.try_get(4)?)?,
                        class: class(row.try_get(6)?)?,
                        asked: owners(row.try_get(5)?, row.try_get(7)?)?,
                        last_run: run_id(row.try_get(8)?)?,
                    };
                    found.insert(id, failure);
                }
            }
            Ok::<_, Fault>(found)
        };
        read.await.map_err(self.explain("reading failures"))
    }
}

/// Stores which owners failures were asked under because rows named them.
pub(super) async fn store_asked(conn: &mut SqliteConnection, asked: &[(i64, Vec<String>)]) -> Result<(), Fault> {
    for some in asked.chunks(IDS) {
        let text = serde_json::to_string(some).map_err(|error| Fault::Inconsistent(error.to_string()))?;
        sqlx::query(
            "update failures set asked = given.value ->> '$[1]' from json_each(?) as given
             where state < 2 and class <> 'invalid' and message_server_id = given.value ->> '$[0]'",
        )
        .bind(text)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// The owners that are stored, or else the one in the conversation as the reference spelt it.
fn owners(conversation_id: &str, asked: Option<&str>) -> Result<Vec<String>, Fault> {
    match asked {
        Some(asked) => serde_json::from_str(asked)
            .map_err(|error| Fault::Damaged(format!("the owners of a failure cannot be read: {error}"))),
        None => Ok(ConversationId::parse(conversation_id).map(|own| own.owner).into_iter().collect()),
    }
}
