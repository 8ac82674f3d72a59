//! The world that the comparison asks for: references, ready requests, and a server of canned answers.
//!
//! - `world make DIR COUNT [DAYS] [CONVERSATIONS]` writes `refs.csv`, `items.bin` (every message as the simulator
//!   answers it) and `requests.tsv` (ready request bodies, for clients that do not plan).
//! - `world references FILE COUNT [DAYS] [CONVERSATIONS]` writes nothing but references.
//! - `world serve DIR [stall]` holds the answers in memory and serves them on loopback without latency, quota or
//!   checks, from one thread. It prints its URL. With `stall` it never answers, and prints when it was asked.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use yunxin_archiver::model::message::{MessageRows, TextColumn};
use yunxin_archiver::model::reference::{Reference, split_conversation_id};
use yunxin_archiver::plan::{Batch, TeamOwner, Window};
use yunxin_archiver::simulator::{self, APP_KEY, APP_SECRET, ReferenceShape, Settings, write_references};
use yunxin_archiver::yunxin::{App, AppSettings, AskFor, Client, Concurrency, FetchSettings, Outcome};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| arguments.get(at).map_or(Ok(default), |text| text.parse());
    match arguments.first().map(String::as_str) {
        Some(what @ ("make" | "references")) if arguments.len() > 2 => {
            let count = number(2, 0)?;
            let shape = ReferenceShape {
                count,
                days: number(3, 1)? as u32,
                conversations: number(4, (count / 200).max(1))? as u32,
                ..ReferenceShape::default()
            };
            let path = Path::new(&arguments[1]);
            if what == "references" {
                return Ok(write_references(BufWriter::new(File::create(path)?), &shape)?);
            }
            make(path, &shape)
        }
        Some("serve") if arguments.len() > 1 => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let stall = arguments.get(2).is_some_and(|word| word == "stall");
            let store =
                if stall { Store::default() } else { Store::read(&Path::new(&arguments[1]).join("items.bin"))? };
            tokio::task::LocalSet::new().block_on(&runtime, serve(Rc::new(store), stall))
        }
        _ => Err(
            "world make DIR COUNT [DAYS] [CONVERSATIONS], world references FILE COUNT …, or world serve DIR [stall]"
                .into(),
        ),
    }
}

fn make(directory: &Path, shape: &ReferenceShape) -> Result<()> {
    fs::create_dir_all(directory)?;
    let references = directory.join("refs.csv");
    write_references(BufWriter::new(File::create(&references)?), shape)?;
    let mut window = Window::new(100, usize::MAX, TeamOwner::Merge);
    let mut reader = csv::Reader::from_reader(BufReader::new(File::open(&references)?));
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record)? {
        let (owner, conversation_type, other) = split_conversation_id(&record[0])?;
        window.add(Reference {
            owner,
            conversation_type,
            other,
            message_server_id: record[1].parse()?,
            create_time: record[2].parse()?,
        });
    }
    window.finish();
    let batches = window.take_ready();
    let mut requests = BufWriter::new(File::create(directory.join("requests.tsv"))?);
    for batch in &batches {
        writeln!(requests, "{}\t{}\t{}", batch.key, batch.key.seen_by(&batch.asked), body(batch))?;
    }
    requests.flush()?;
    let service = simulator::start(Settings { rate_limit: 0, ..Settings::default() })?;
    let runtime = tokio::runtime::Runtime::new()?;
    let items = BufWriter::with_capacity(1 << 20, File::create(directory.join("items.bin"))?);
    let bytes = runtime.block_on(fetch_all(&service.url(), batches, items))?;
    writeln!(std::io::stdout(), "{} messages, {bytes} bytes of JSON", shape.count)?;
    Ok(())
}

fn body(batch: &Batch) -> String {
    let mut body = String::from("{\"messages\":[");
    for (index, reference) in batch.refs.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let (id, time) = (reference.message_server_id, reference.create_time);
        let _ = write!(body, "{comma}{{\"message_server_id\":{id},\"create_time\":{time}}}");
    }
    body + "]}"
}

/// Asks the simulator for everything, and keeps each item's own text.
async fn fetch_all(url: &str, batches: Vec<Batch>, mut items: BufWriter<File>) -> Result<u64> {
    let settings = AppSettings {
        rate_limit: 1_000_000,
        ..AppSettings::new(APP_KEY, SecretString::from(APP_SECRET), vec![url.parse()?])
    };
    let fetch = FetchSettings { concurrency: Concurrency::Fixed(8), ..FetchSettings::default() };
    let client = Arc::new(Client::new(App::new(settings)?, fetch).with_raw(true));
    let mut tasks = JoinSet::new();
    let mut bytes = 0;
    for batch in batches {
        let permit = client.permit().await;
        let client = Arc::clone(&client);
        tasks.spawn(async move {
            let ask = AskFor {
                conversation: batch.key.seen_by(&batch.asked),
                key: batch.key,
                refs: batch.refs.iter().map(|r| (r.message_server_id, r.create_time)).collect(),
                batch: 0,
            };
            client.fetch(permit, &ask, &CancellationToken::new()).await
        });
        while let Some(done) = tasks.try_join_next() {
            bytes += keep(&mut items, done??)?;
        }
    }
    while let Some(done) = tasks.join_next().await {
        bytes += keep(&mut items, done??)?;
    }
    items.flush()?;
    Ok(bytes)
}

fn keep(items: &mut BufWriter<File>, outcome: Outcome) -> Result<u64> {
    let Outcome::Answered(answer) = outcome else { return Err("the simulator refused a request".into()) };
    let rows: &MessageRows = &answer.rows;
    for row in rows.rows() {
        let text = rows.get(row, TextColumn::Raw).ok_or("an item without its text")?;
        items.write_all(&row.message_server_id.to_le_bytes())?;
        items.write_all(&(text.len() as u32).to_le_bytes())?;
        items.write_all(text.as_bytes())?;
    }
    Ok(answer.bytes)
}

/// Every item's text by its ID.
#[derive(Default)]
struct Store {
    bytes: Vec<u8>,
    places: HashMap<i64, (usize, usize)>,
}

impl Store {
    fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut places = HashMap::new();
        let mut at = 0;
        while at < bytes.len() {
            let id = i64::from_le_bytes(bytes[at..at + 8].try_into()?);
            let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into()?) as usize;
            places.insert(id, (at + 12, length));
            at += 12 + length;
        }
        Ok(Self { bytes, places })
    }
}

async fn serve(store: Rc<Store>, stall: bool) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let store = Rc::clone(&store);
        tokio::task::spawn_local(async move {
            if stall {
                return hold(stream).await;
            }
            // A client that goes away is no trouble of the server's.
            let _ = converse(stream, &store).await;
        });
    }
}

/// Takes a request, says when it came, and never answers.
async fn hold(mut stream: TcpStream) {
    let mut input = Vec::with_capacity(16 << 10);
    while stream.read_buf(&mut input).await.is_ok_and(|read| read > 0) {
        let _ = writeln!(std::io::stdout(), "asked at {}", jiff::Timestamp::now().as_millisecond());
    }
}

const BEGIN: &str = "{\"code\":200,\"msg\":\"success\",\"data\":{\"failed_list\":[],\"success_list\":[";
const END: &str = "]}}";

async fn converse(mut stream: TcpStream, store: &Store) -> Result<()> {
    let mut input = Vec::with_capacity(16 << 10);
    let mut output = Vec::with_capacity(128 << 10);
    loop {
        let head = loop {
            if let Some(end) = memchr::memmem::find(&input, b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        };
        let length = content_length(&input[..head]).ok_or("no content-length")?;
        while input.len() < head + length {
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
        answer(store, &input[head..head + length], &mut output)?;
        input.drain(..head + length);
        stream.write_all(&output).await?;
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    })?;
    value.trim().parse().ok()
}

fn answer(store: &Store, body: &[u8], output: &mut Vec<u8>) -> Result<()> {
    const ID: &[u8] = b"\"message_server_id\":";
    let mut items = Vec::with_capacity(100);
    for at in memchr::memmem::find_iter(body, ID) {
        let digits = body[at + ID.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        let id = digits.fold(0_i64, |id, digit| id * 10 + i64::from(digit - b'0'));
        items.push(*store.places.get(&id).ok_or("an ID that the world does not hold")?);
    }
    let commas = items.len().saturating_sub(1);
    let length = BEGIN.len() + items.iter().map(|(_, length)| length).sum::<usize>() + commas + END.len();
    output.clear();
    write!(
        output,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndate: Sat, 24 Oct 2026 00:00:00 GMT\r\ncontent-length: {length}\r\n\r\n{BEGIN}"
    )?;
    for (index, (start, length)) in items.into_iter().enumerate() {
        if index > 0 {
            output.push(b',');
        }
        output.extend_from_slice(&store.bytes[start..start + length]);
    }
    output.extend_from_slice(END.as_bytes());
    Ok(())
}
