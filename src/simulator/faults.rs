//! Which requests meet which fault.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::fault::Fault;
use super::generated::mix;

/// What goes wrong, and when. The first source that has a fault for a request decides: the hook, then the script, then the
/// rules in their order.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Milliseconds that every answer takes.
    pub latency_ms: u64,
    /// Up to this many milliseconds more, evenly distributed.
    pub jitter_ms: u64,
    /// Answers list their messages in a different order from the request.
    pub unordered: bool,
    /// Seconds by which the service's clock is ahead (or, negative, behind): in its `Date`, and in what it accepts.
    pub clock_skew_s: i64,
    /// Faults for the next requests, one each, in order.
    pub script: VecDeque<Fault>,
    /// Faults by chance or by count.
    pub rules: Vec<Rule>,
    /// What the liveness probe meets instead of HTTP 200.
    pub liveness: Option<Fault>,
    /// Decides per request.
    #[serde(skip)]
    pub hook: Option<Hook>,
}

/// A fault that some requests meet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What they meet.
    pub fault: Fault,
    /// With this probability, 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// Only this many requests, the first ones that the rule is tried on.
    #[serde(default)]
    pub first: Option<u64>,
    /// Only each request whose number, among those that the rule is tried on, is a multiple of this.
    #[serde(default)]
    pub every: Option<u64>,
    /// Requests that the rule was tried on.
    #[serde(skip)]
    pub tried: u64,
}

fn always() -> f64 {
    1.0
}

impl Rule {
    /// This fault with this probability.
    pub fn chance(fault: Fault, probability: f64) -> Self {
        Self { fault, probability, first: None, every: None, tried: 0 }
    }

    /// This fault for the next `first` requests.
    pub fn first(fault: Fault, first: u64) -> Self {
        Self { first: Some(first), ..Self::chance(fault, 1.0) }
    }

    /// This fault for every `every`th request.
    pub fn every(fault: Fault, every: u64) -> Self {
        Self { every: Some(every), ..Self::chance(fault, 1.0) }
    }

    fn meets(&mut self, draw: u64) -> bool {
        self.tried += 1;
        self.first.is_none_or(|first| self.tried <= first)
            && self.every.is_none_or(|every| every != 0 && self.tried.is_multiple_of(every))
            && unit(draw) < self.probability
    }
}

/// A number from 0 up to but without 1.
pub(super) fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1_u64 << 53) as f64
}

/// What a hook is told about a request.
#[derive(Debug, Clone)]
pub struct RequestInfo<'a> {
    /// The number of the request among those that passed app key and quota, from 1.
    pub sequence: u64,
    /// The `AppKey` header.
    pub app_key: &'a str,
    /// `v2.1` or `v2`.
    pub version: &'a str,
    /// The conversation ID as asked, decoded.
    pub conversation_id: &'a str,
    /// Message ID and create time of each reference; empty when the body was no request.
    pub references: &'a [(i64, i64)],
    /// The `X-custom-traceid` header.
    pub trace_id: Option<&'a str>,
    /// The `Nonce` header.
    pub nonce: &'a str,
    /// The client's `User-Agent`.
    pub user_agent: Option<&'a str>,
}

type Decide = dyn Fn(&RequestInfo<'_>) -> Option<Fault> + Send + Sync;

/// Decides per request which fault it meets, if any. It is called on the server's thread and must not block.
#[derive(Clone)]
pub struct Hook(Arc<Decide>);

impl Hook {
    /// A hook that asks `decide`.
    pub fn new(decide: impl Fn(&RequestInfo<'_>) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

impl Faults {
    /// What this request meets.
    pub(super) fn next(&mut self, seed: u64, request: &RequestInfo<'_>) -> Fault {
        if let Some(fault) = self.hook.as_ref().and_then(|hook| (hook.0)(request)) {
            return fault;
        }
        if let Some(fault) = self.script.pop_front() {
            return fault;
        }
        let mut draw = mix(seed ^ mix(request.sequence));
        for rule in &mut self.rules {
            draw = mix(draw);
            if rule.meets(draw) {
                return rule.fault.clone();
            }
        }
        Fault::Ok
    }

    /// How long the answer to the request with this number takes.
    pub(super) fn delay(&self, seed: u64, sequence: u64) -> Duration {
        let jitter = unit(mix(seed ^ mix(sequence) ^ 1)) * self.jitter_ms as f64;
        Duration::from_millis(self.latency_ms) + Duration::from_micros((jitter * 1_000.0) as u64)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn meet(faults: &mut Faults, requests: u64) -> Vec<String> {
        (1..=requests)
            .map(|sequence| {
                let request = RequestInfo {
                    sequence,
                    app_key: "key",
                    version: "v2.1",
                    conversation_id: "a|1|b",
                    references: &[],
                    trace_id: None,
                    nonce: "n",
                    user_agent: None,
                };
                faults.next(1, &request).to_string()
            })
            .collect()
    }

    #[test]
    fn hook_then_script_then_rules_decide() {
        let mut faults: Faults =
            serde_json::from_str(r#"{"script": ["416", "ok"], "rules": [{"fault": "html", "every": 2}]}"#).unwrap();
        faults.hook = Some(Hook::new(|request| (request.sequence == 2).then_some(Fault::Stall)));
        assert_eq!(meet(&mut faults, 6), ["416", "stall", "ok", "ok", "html", "ok"]);
    }

    #[test]
    fn rules_go_by_count_and_by_chance() {
        let mut faults = Faults { rules: vec![Rule::first(Fault::Code(503), 2)], ..Faults::default() };
        assert_eq!(meet(&mut faults, 4), ["503", "503", "ok", "ok"]);
        let mut faults = Faults { rules: vec![Rule::chance(Fault::Reset, 0.25)], ..Faults::default() };
        let resets = meet(&mut faults, 4_000).iter().filter(|fault| *fault == "reset").count();
        assert!((900..1_100).contains(&resets), "{resets} of 4000");
    }

    #[test]
    fn unknown_keys_are_mistakes() {
        assert!(serde_json::from_str::<Faults>(r#"{"latency": 5}"#).is_err());
        assert!(serde_json::from_str::<Faults>(r#"{"rules": [{"fault": "ok", "chance": 1}]}"#).is_err());
    }
}
