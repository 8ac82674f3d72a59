//! What the API's codes mean and what is done about each: the only place that knows their numbers.

/// What a code of the API means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The request was answered: its lists say what became of each message.
    Success,
    /// A parameter is wrong, or the checksum, or the clock.
    BadParameter,
    /// The request is too long, or asks for too much.
    TooLarge,
    /// More requests than the quota allows.
    OverRate,
    /// The service has too much to do: fewer requests at a time would help.
    Busy,
    /// A trouble that passes.
    Passing,
    /// The service refuses this app or this host.
    AppRefused,
    /// There is no such message, as far as this owner can see.
    DoesNotExist,
    /// Something that the request names is missing; the code does not say what.
    NotFound,
    /// The account, team, member or conversation is missing or does not match: no request in this owner's name for this
    /// conversation would fare better.
    OwnerRefused,
    /// Any other code.
    Other,
}

impl Meaning {
    /// What `code` means.
    pub fn of(code: i64) -> Self {
        row_of(code).meaning
    }

    /// Whether it says that a message, or its whole conversation, is not there.
    pub fn is_absence(self) -> bool {
        matches!(self, Self::DoesNotExist | Self::NotFound | Self::OwnerRefused)
    }
}

/// What is done when a code is said of a whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    /// The lists are read.
    Read,
    /// The clock is corrected, or else the batch is split, or else the credentials are in doubt.
    Doubt,
    /// The batch is split.
    Split,
    /// Every request of this call of the app pauses. It is no attempt of the batch's.
    Pause,
    /// The batch is sent again after a while, signed afresh.
    Retry,
    /// The run stops.
    Stop,
    /// It is final for this owner; another owner may still see the messages.
    OtherOwner,
    /// It is final.
    Permanent,
}

/// What may help when a code is said of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Another owner may still see the message.
    OtherOwner,
    /// Asking again later may help.
    Later,
    /// Nothing: it is final.
    Nothing,
}

/// Codes that mean the same, and what is done about them.
#[derive(Debug)]
pub struct Codes {
    /// The codes; none in the row that stands for all others.
    pub codes: &'static [i64],
    /// What they mean.
    pub meaning: Meaning,
    reaction: Reaction,
    remedy: Remedy,
    /// As docs/failures.md has it: what they mean, what is done when one is said of a whole request, and when one is said of a
    /// single message.
    pub documentation: [&'static str; 3],
}

const fn row(
    codes: &'static [i64],
    meaning: Meaning,
    (reaction, remedy): (Reaction, Remedy),
    documentation: [&'static str; 3],
) -> Codes {
    Codes { codes, meaning, reaction, remedy, documentation }
}

const OTHER_OWNERS: &str = "asked under [other owners](#other-owners), then final: `unavailable`";

/// Every code that is known. The last row stands for all others.
#[rustfmt::skip]
pub static CODES: [Codes; 11] = [
    row(&[200], Meaning::Success, (Reaction::Read, Remedy::Nothing),
        ["success", "the lists are read", "final"]),
    row(&[414], Meaning::BadParameter, (Reaction::Doubt, Remedy::Nothing),
        ["bad parameter, or bad checksum or clock", "see [below](#code-414)", "final"]),
    row(&[405, 419], Meaning::TooLarge, (Reaction::Split, Remedy::Nothing),
        ["too long, or over a limit", "the batch is split in half, down to single references; alone: `refused`", "final"]),
    row(&[416], Meaning::OverRate, (Reaction::Pause, Remedy::Later),
        ["over the rate limit", "all requests of this call of the app pause; see [Pauses](#pauses). It is no attempt of the \
          batch's", "[refused for now](#refused-for-now)"]),
    row(&[408, 503, 514], Meaning::Busy, (Reaction::Retry, Remedy::Later),
        ["timeout, busy, unavailable", "retried with backoff, and fewer requests are in flight at a time",
         "refused for now"]),
    row(&[500, 431, 398, 399, 511, 107_323, 108_449, 109_449], Meaning::Passing, (Reaction::Retry, Remedy::Later),
        ["internal error (500), repeated request (431), temporarily refused",
         "retried with backoff, with a new trace ID and nonce", "refused for now"]),
    row(&[301, 315, 403, 422, 997, 101_301, 101_302, 101_303, 101_403], Meaning::AppRefused,
        (Reaction::Stop, Remedy::Nothing),
        ["the app is disabled, unknown or banned, or this host may not call the API",
         "the run stops, exit 4; batches stay pending", "final"]),
    row(&[107_404], Meaning::DoesNotExist, (Reaction::OtherOwner, Remedy::OtherOwner),
        ["message does not exist", OTHER_OWNERS, "the same"]),
    row(&[404], Meaning::NotFound, (Reaction::OtherOwner, Remedy::OtherOwner),
        ["something does not exist", OTHER_OWNERS, "the same"]),
    row(&[102_404, 102_422, 108_404, 109_404, 110_302, 110_404], Meaning::OwnerRefused,
        (Reaction::OtherOwner, Remedy::OtherOwner),
        ["the account, team, member or conversation is missing or does not match", OTHER_OWNERS, "the same"]),
    row(&[], Meaning::Other, (Reaction::Permanent, Remedy::Nothing),
        ["not known", "final: `refused`", "final: `unavailable`"]),
];

fn row_of(code: i64) -> &'static Codes {
    let [known @ .., other] = &CODES;
    known.iter().find(|row| row.codes.contains(&code)).unwrap_or(other)
}

/// What is done when `code` is said of a whole request.
pub(super) fn reaction(code: i64) -> Reaction {
    row_of(code).reaction
}

/// What may help when `code` is said of one message.
pub(super) fn remedy(code: i64) -> Remedy {
    row_of(code).remedy
}

/// Where to look when a code ended the run.
pub(super) fn advice(code: i64) -> &'static str {
    match code {
        414 => " to every request so far: the AppSecret or this host's clock is wrong",
        315 => ": this host's IP address is not among those that may call it",
        101_301..=101_303 => ": the AppKey is not one that may call it",
        _ => "",
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

impl Fault {
    /// Whether a gateway says that the app is over the rate: every request of this call of the app pauses.
    pub(super) fn is_over_rate(self) -> bool {
        self == Self::Status(429)
    }

    /// Whether the next endpoint is tried at once.
    pub(super) fn is_of_endpoint(self) -> bool {
        matches!(self, Self::Connect | Self::Status(502..=504))
    }

    /// Whether fewer requests at a time would help.
    pub(super) fn is_overload(self) -> bool {
        self.is_of_endpoint() || matches!(self, Self::Timeout | Self::Status(408))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_stands_in_one_row() {
        let mut codes: Vec<i64> = CODES.iter().flat_map(|row| row.codes).copied().collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
        for code in [0, -1, 201, 400, 999_999, i64::MIN, i64::MAX] {
            assert_eq!(
                (Meaning::of(code), reaction(code), remedy(code)),
                (Meaning::Other, Reaction::Permanent, Remedy::Nothing)
            );
        }
    }

    #[test]
    fn unreachable_endpoints_are_left_and_throttling_gateways_are_waited_for() {
        for fault in [Fault::Connect, Fault::Status(502), Fault::Status(503), Fault::Status(504)] {
            assert!(fault.is_of_endpoint(), "{fault:?}");
        }
        for fault in [Fault::Timeout, Fault::Broken, Fault::Status(500), Fault::Status(404), Fault::Status(429)] {
            assert!(!fault.is_of_endpoint(), "{fault:?}");
        }
        assert!(Fault::Status(429).is_over_rate());
    }
}
