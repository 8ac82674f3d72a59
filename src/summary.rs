//! What a run did, as counts that must add up.
