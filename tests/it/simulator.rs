//! The simulated API, as a caller that knows only its documentation sees it.

mod fates;
mod faults;
mod quota;
mod requests;
mod service;
mod worlds;

use std::time::Duration;

use serde_json::{Value, json};
use yunxin_archiver::simulator::{Fault, Handle, Message, Settings, World, start_with};

use crate::support::caller::Call;

const ID: i64 = 158_844_553_334_358_018;
const TIME: i64 = 1_753_951_805_248;
const LONG: Duration = Duration::from_secs(20);

/// A service without a quota.
fn serve(world: World) -> Handle {
    start_with(Settings { rate_limit: 0, ..Settings::default() }, world).unwrap()
}

fn hello() -> World {
    let mut world = World::explicit();
    world.insert(Message::text("alice|1|bob", ID, TIME, "hello"));
    world
}

fn ask_hello() -> Call {
    Call::new("alice|1|bob", &[(ID, TIME)])
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer["data"][name].as_array().map_or(&[], Vec::as_slice)
}

/// The IDs of the found and of the failed.
fn ids(answer: &Value) -> (Vec<i64>, Vec<i64>) {
    let ids = |name| list(answer, name).iter().filter_map(|item| item["message_server_id"].as_i64()).collect();
    (ids("success_list"), ids("failed_list"))
}
