//! What the API's codes mean for the job: the one place where that is decided.

/// What to do on a code that the API gave for a whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// 200: read the lists.
    Read,
    /// 414: a bad parameter, or a bad checksum or clock. Correct the clock, else split, else weigh the credentials.
    Doubt,
    /// Too long or over the limit: split.
    Split,
    /// Over the rate: every request of this call of the app pauses. No attempt of the batch's.
    Pause,
    /// Try again after a while, with a fresh signature.
    Retry,
    /// Credentials or configuration: the run stops.
    Stop,
    /// Gone for this conversation and owner; another owner may still see it.
    OtherOwner,
    /// Final for what it was said of.
    Permanent,
}

/// What to do on `code`, said of a whole request.
pub fn reaction(code: i64) -> Reaction {
    match code {
        200 => Reaction::Read,
        414 => Reaction::Doubt,
        405 | 419 => Reaction::Split,
        416 => Reaction::Pause,
        // Timeout, internal error, busy, unavailable; a repeated request; temporarily refused.
        408 | 500 | 503 | 514 | 431 | 398 | 399 | 511 | 107_323 | 108_449 | 109_449 => Reaction::Retry,
        301 | 315 | 403 | 422 | 997 | 101_301 | 101_302 | 101_303 | 101_403 => Reaction::Stop,
        107_404 | 102_404 | 102_422 | 404 | 108_404 | 109_404 | 110_302 | 110_404 => Reaction::OtherOwner,
        _ => Reaction::Permanent,
    }
}

/// Whether a code, said of a whole request, speaks of its owner and conversation, so that no other request in this
/// owner's name would fare better: one message alone cannot be the reason for it.
pub fn speaks_of_owner(code: i64) -> bool {
    matches!(code, 102_404 | 102_422 | 108_404 | 109_404 | 110_302 | 110_404)
}

/// Whether a code says that the service is overloaded: fewer requests at a time would help.
pub(super) fn is_overload(code: i64) -> bool {
    matches!(code, 408 | 503 | 514)
}

/// What a code of the list of failures means for its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Another owner may still see the message.
    pub other_owner_may_help: bool,
    /// Asking again later may help.
    pub retryable: bool,
}

impl Said {
    /// A failure without a code: nothing is known.
    pub(super) const UNKNOWN: Self = Self { other_owner_may_help: false, retryable: false };
}

/// What `code` means, said of one message in the list of failures.
pub fn said_of_message(code: i64) -> Said {
    match reaction(code) {
        Reaction::OtherOwner => Said { other_owner_may_help: true, retryable: false },
        Reaction::Retry | Reaction::Pause => Said { other_owner_may_help: false, retryable: true },
        // Said of one message, these are no word about request or credentials.
        Reaction::Read | Reaction::Doubt | Reaction::Split | Reaction::Stop | Reaction::Permanent => {
            Said { other_owner_may_help: false, retryable: false }
        }
    }
}

/// What went wrong before the API could give a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// No connection.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke, or the answer cannot be read.
    Broken,
    /// A gateway answered with this status.
    Status(u16),
}

/// What to do on a [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remedy {
    /// Over the rate: every request of this call of the app pauses. No attempt of the batch's.
    pub(super) pause: bool,
    /// The next endpoint is tried.
    pub(super) next_endpoint: bool,
    /// Fewer requests at a time would help.
    pub(super) overload: bool,
}

/// What to do on `fault`. Everything is tried again while there are attempts left: this call only reads.
pub(super) fn remedy(fault: Fault) -> Remedy {
    let (pause, next_endpoint, overload) = match fault {
        Fault::Connect | Fault::Status(502..=504) => (false, true, true),
        Fault::Timeout | Fault::Status(408) => (false, false, true),
        Fault::Status(429) => (true, false, false),
        Fault::Broken | Fault::Status(_) => (false, false, false),
    };
    Remedy { pause, next_endpoint, overload }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_has_its_reaction() {
        let rows: [(&[i64], Reaction); 8] = [
            (&[200], Reaction::Read),
            (&[414], Reaction::Doubt),
            (&[405, 419], Reaction::Split),
            (&[416], Reaction::Pause),
            (&[408, 500, 503, 514, 431, 398, 399, 511, 107_323, 108_449, 109_449], Reaction::Retry),
            (&[301, 315, 403, 422, 997, 101_301, 101_302, 101_303, 101_403], Reaction::Stop),
            (&[107_404, 102_404, 102_422, 404, 108_404, 109_404, 110_302, 110_404], Reaction::OtherOwner),
            (&[0, -1, 201, 400, 999_999, i64::MIN, i64::MAX], Reaction::Permanent),
        ];
        for (codes, expected) in rows {
            for code in codes {
                assert_eq!(reaction(*code), expected, "{code}");
            }
        }
    }

    #[test]
    fn what_is_said_of_a_message_never_stops_the_run() {
        assert_eq!(said_of_message(107_404), Said { other_owner_may_help: true, retryable: false });
        assert_eq!(said_of_message(398), Said { other_owner_may_help: false, retryable: true });
        assert_eq!(said_of_message(403), Said { other_owner_may_help: false, retryable: false });
    }

    #[test]
    fn unreachable_endpoints_are_left_and_throttling_gateways_are_waited_for() {
        for fault in [Fault::Connect, Fault::Status(502), Fault::Status(503), Fault::Status(504)] {
            assert!(remedy(fault).next_endpoint, "{fault:?}");
        }
        for fault in [Fault::Timeout, Fault::Broken, Fault::Status(500), Fault::Status(404), Fault::Status(429)] {
            assert!(!remedy(fault).next_endpoint, "{fault:?}");
        }
        assert!(remedy(Fault::Status(429)).pause);
    }
}
