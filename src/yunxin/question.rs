//! What was asked, which an answer is read against.

/// What was asked, as far as decoding needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    /// The dialogue.
    pub(super) key: &'a str,
    /// The conversation as asked.
    pub(super) conversation: &'a str,
    /// 1, 2 or 3.
    pub(super) conversation_type: i32,
    /// ID and create time (milliseconds) of what was asked for. The IDs are distinct.
    pub(super) refs: &'a [(i64, i64)],
    /// When it was asked, milliseconds since the epoch.
    pub(super) fetched_at: i64,
    /// Whether items keep their JSON text.
    pub(super) raw: bool,
}
