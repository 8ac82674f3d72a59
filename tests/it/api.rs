//! The client of the API, against a server that answers well, badly, or not at all.

mod answers;
mod codes;
mod endpoints;
mod pace;
mod signing;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use url::Url;
use yunxin_archiver::model::message::TextColumn;
use yunxin_archiver::model::reference::ConversationId;
use yunxin_archiver::yunxin::{
    Answer, App, AppSettings, AskFor, Client, FetchSettings, Outcome, Patience, Refusal, Stop,
};

use crate::support::faulty_api::{Act, FaultyApi, http};

const SECRET: &str = "s3cr3t-never-shown";
const THROTTLE_PAUSE: Duration = Duration::from_millis(150);

fn settings(endpoints: &[&Url]) -> AppSettings {
    let endpoints = endpoints.iter().map(|url| (*url).clone()).collect();
    AppSettings {
        rate_limit: 1000,
        patience: Patience {
            backoff: Duration::from_millis(4),
            longest_backoff: Duration::from_millis(20),
            throttle_pause: THROTTLE_PAUSE,
            longest_throttle_pause: Duration::from_millis(600),
            longest_told: Duration::from_secs(2),
            endpoint_return: Duration::from_millis(200),
        },
        ..AppSettings::new("the-app-key", SecretString::from(SECRET), endpoints)
    }
}

fn client_of(endpoints: &[&Url], fetch: FetchSettings) -> Client {
    Client::new(App::new(settings(endpoints)).unwrap(), fetch)
}

fn client(api: &FaultyApi) -> Client {
    client_of(&[&api.url], FetchSettings::default())
}

fn ask(refs: &[i64]) -> AskFor {
    let conversation = ConversationId::parse("Alice@x.cn|1|bob").unwrap();
    let refs = refs.iter().map(|id| (*id, 1_753_951_805_248)).collect();
    AskFor { key: conversation.key(), conversation, refs, batch: 1 }
}

async fn fetch(client: &Client, ask: &AskFor) -> Result<Outcome, Stop> {
    client.fetch(client.permit().await, ask, &CancellationToken::new()).await
}

async fn answer(client: &Client, ask: &AskFor) -> Answer {
    match fetch(client, ask).await {
        Ok(Outcome::Answered(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

fn exhausted(outcome: Result<Outcome, Stop>) -> (Option<i64>, String, u32) {
    match outcome {
        Ok(Outcome::Exhausted { code, message, attempts }) => (code, message, attempts),
        other => panic!("{other:?}"),
    }
}

fn refused(outcome: Result<Outcome, Stop>) -> (i64, Refusal) {
    match outcome {
        Ok(Outcome::Refused { code, refusal, message, .. }) => {
            assert_eq!(message, "said so");
            (code, refusal)
        }
        other => panic!("{other:?}"),
    }
}

/// Does `first` to the first request, and answers all others.
async fn once(first: Act) -> FaultyApi {
    FaultyApi::serve(move |number, asked| if number == 0 { first.clone() } else { asked.found() }).await
}

fn found(body: &serde_json::Value) -> Vec<u8> {
    body.to_string().into_bytes()
}
