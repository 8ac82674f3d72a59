//! Failures that an operator dismisses: nothing is to be done about them.

use jiff::Timestamp;
use sqlx::Row as _;

use super::error::Fault;
use super::failures::CHOSEN;
use super::{FailureFilter, FailureState, Ledger, LedgerError, count, millis};

/// What was dismissed, or taken up again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dismissed {
    /// References that did not become messages.
    pub references: u64,
    /// Rows of the input that are no reference.
    pub rows: u64,
}

impl Ledger {
    /// Dismisses the open failures that `filter` lets through, in one transaction: they are no longer open, not asked
    /// again, and not new when they are met again. `by` and `reason` are kept with them.
    pub async fn dismiss(
        &self,
        filter: &FailureFilter,
        now: Timestamp,
        by: &str,
        reason: Option<&str>,
    ) -> Result<Dismissed, LedgerError> {
        let closed = Some((millis(now), by, reason.unwrap_or_default()));
        self.settle(filter, (FailureState::Open, FailureState::Dismissed), closed).await
    }

    /// Opens the dismissed failures that `filter` lets through again.
    pub async fn reopen(&self, filter: &FailureFilter) -> Result<Dismissed, LedgerError> {
        self.settle(filter, (FailureState::Dismissed, FailureState::Open), None).await
    }

    async fn settle(
        &self,
        filter: &FailureFilter,
        (from, to): (FailureState, FailureState),
        closed: Option<(i64, &str, &str)>,
    ) -> Result<Dismissed, LedgerError> {
        let filter = FailureFilter { state: Some(from), ..filter.clone() };
        let settled = async {
            let mut writer = self.writer().await?;
            let mut tx = writer.begin().await?;
            let sql = format!(
                "select coalesce(sum(class <> 'invalid'), 0), coalesce(sum(case class when 'invalid' then rows end), 0)
                 from failures where {CHOSEN}"
            );
            let row = filter.bind(sqlx::query(sqlx::AssertSqlSafe(sql))).fetch_one(&mut *tx).await?;
            let settled = Dismissed { references: count(row.try_get(0)?), rows: count(row.try_get(1)?) };
            let sql =
                format!("update failures set state = ?6, closed_at = ?7, closed_by = ?8, note = ?9 where {CHOSEN}");
            filter
                .bind(sqlx::query(sqlx::AssertSqlSafe(sql)))
                .bind(to.number())
                .bind(closed.map(|(at, ..)| at))
                .bind(closed.map(|(_, by, _)| by))
                .bind(closed.map(|(.., reason)| reason))
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok::<_, Fault>(settled)
        };
        settled.await.map_err(self.explain("dismissing failures"))
    }
}
