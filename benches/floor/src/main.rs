//! The floor of the comparison: HTTP, decode, write Parquet, and nothing else. No ledger, no plan, no signature, no
//! account of what was asked, no retry, no hash of files. It shares no code with the product.
//!
//! `floor URL DIR OUT` sends the ready requests of `DIR/requests.tsv` and writes one file.

use std::borrow::Cow;
use std::error::Error;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::SystemTime;

use arrow::array::{
    ArrayBuilder, BooleanBuilder, Int32Builder, Int64Builder, ListBuilder, RecordBatch, StringBuilder,
    TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use serde::Deserialize;
use sonic_rs::LazyValue;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn Error + Send + Sync>;

const CONCURRENCY: usize = 32;
const ROWS: usize = 4096;

#[derive(Deserialize)]
struct Reply<'a> {
    code: i64,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    success_list: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    message_server_id: i64,
    create_time: i64,
    conversation_type: i32,
    #[serde(borrow)]
    message_client_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sender_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    receiver_id: Option<Cow<'a, str>>,
    team_id: Option<i64>,
    message_type: Option<i32>,
    sub_type: Option<i32>,
    sender_client_type: Option<i32>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    attachment: Option<LazyValue<'a>>,
    #[serde(borrow)]
    extension: Option<Cow<'a, str>>,
    #[serde(borrow)]
    modify_account_id: Option<Cow<'a, str>>,
    modify_time: Option<i64>,
    #[serde(borrow)]
    thread_config: Option<Threads<'a>>,
}

#[derive(Deserialize)]
struct Threads<'a> {
    #[serde(borrow)]
    thread_root: Option<Link<'a>>,
    #[serde(borrow)]
    thread_reply: Option<Link<'a>>,
}

#[derive(Deserialize)]
struct Link<'a> {
    #[serde(borrow)]
    sender_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    receiver_id: Option<Cow<'a, str>>,
    create_time: Option<i64>,
    #[serde(borrow)]
    message_server_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message_client_id: Option<Cow<'a, str>>,
}

enum Column {
    Text(StringBuilder),
    Long(Int64Builder),
    Int(Int32Builder),
    Time(TimestampMillisecondBuilder),
    Flag(BooleanBuilder),
    List(ListBuilder<StringBuilder>),
}

/// Every column with its kind (text, long, int, time, flag, list) and whether a dictionary pays.
const COLUMNS: [(&str, char, bool); 37] = [
    ("app_key", 's', true),
    ("conversation_key", 's', true),
    ("conversation_id", 's', true),
    ("conversation_type", 'i', true),
    ("message_server_id", 'l', false),
    ("revision", 'i', true),
    ("message_client_id", 's', false),
    ("sender_id", 's', true),
    ("receiver_id", 's', true),
    ("team_id", 'l', true),
    ("create_time", 't', false),
    ("message_type", 'i', true),
    ("sub_type", 'i', true),
    ("sender_client_type", 'i', true),
    ("text", 's', false),
    ("attachment", 's', false),
    ("extension", 's', false),
    ("modify_account_id", 's', true),
    ("modify_time", 't', false),
    ("receiver_account_ids", 'a', false),
    ("inclusive", 'b', false),
    ("new_member_visible", 'b', false),
    ("thread_root_sender_id", 's', true),
    ("thread_root_receiver_id", 's', true),
    ("thread_root_create_time", 't', false),
    ("thread_root_message_server_id", 'l', false),
    ("thread_root_message_client_id", 's', false),
    ("thread_reply_sender_id", 's', true),
    ("thread_reply_receiver_id", 's', true),
    ("thread_reply_create_time", 't', false),
    ("thread_reply_message_server_id", 'l', false),
    ("thread_reply_message_client_id", 's', false),
    ("extra", 's', false),
    ("substituted", 'b', true),
    ("requested", 'b', true),
    ("run_id", 's', true),
    ("fetched_at", 't', false),
];

fn schema() -> SchemaRef {
    let fields: Vec<Field> = COLUMNS
        .iter()
        .map(|(name, kind, _)| {
            let data_type = match kind {
                's' => DataType::Utf8,
                'l' => DataType::Int64,
                'i' => DataType::Int32,
                't' => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
                'b' => DataType::Boolean,
                _ => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
            };
            Field::new(*name, data_type, true)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// Rows on their way into a record batch.
struct Table {
    columns: Vec<Column>,
    rows: usize,
}

impl Table {
    fn new() -> Self {
        let columns = COLUMNS
            .iter()
            .map(|(_, kind, _)| match kind {
                's' => Column::Text(StringBuilder::with_capacity(ROWS, ROWS * 16)),
                'l' => Column::Long(Int64Builder::with_capacity(ROWS)),
                'i' => Column::Int(Int32Builder::with_capacity(ROWS)),
                't' => Column::Time(TimestampMillisecondBuilder::with_capacity(ROWS).with_timezone("UTC")),
                'b' => Column::Flag(BooleanBuilder::with_capacity(ROWS)),
                _ => Column::List(ListBuilder::with_capacity(StringBuilder::new(), ROWS)),
            })
            .collect();
        Self { columns, rows: 0 }
    }

    fn text(&mut self, at: usize, value: Option<&str>) {
        if let Column::Text(builder) = &mut self.columns[at] {
            builder.append_option(value);
        }
    }

    fn number(&mut self, at: usize, value: Option<i64>) {
        match &mut self.columns[at] {
            Column::Long(builder) => builder.append_option(value),
            Column::Int(builder) => builder.append_option(value.map(|value| value as i32)),
            Column::Time(builder) => builder.append_option(value),
            Column::Flag(builder) => builder.append_option(value.map(|value| value != 0)),
            Column::List(builder) => builder.append_null(),
            Column::Text(_) => {}
        }
    }

    fn push(&mut self, key: &str, conversation: &str, fetched_at: i64, item: &Item<'_>) {
        self.text(0, Some("simulated-app-key"));
        self.text(1, Some(key));
        self.text(2, Some(conversation));
        self.number(3, Some(i64::from(item.conversation_type)));
        self.number(4, Some(item.message_server_id));
        self.number(5, Some(0));
        self.text(6, item.message_client_id.as_deref());
        self.text(7, item.sender_id.as_deref());
        self.text(8, item.receiver_id.as_deref());
        self.number(9, item.team_id);
        self.number(10, Some(item.create_time));
        self.number(11, item.message_type.map(i64::from));
        self.number(12, item.sub_type.map(i64::from));
        self.number(13, item.sender_client_type.map(i64::from));
        self.text(14, item.text.as_deref());
        self.text(15, item.attachment.as_ref().map(LazyValue::as_raw_str));
        self.text(16, item.extension.as_deref());
        self.text(17, item.modify_account_id.as_deref());
        self.number(18, item.modify_time);
        self.number(19, None);
        self.number(20, None);
        self.number(21, None);
        let threads = item.thread_config.as_ref();
        for (at, link) in
            [(22, threads.and_then(|t| t.thread_root.as_ref())), (27, threads.and_then(|t| t.thread_reply.as_ref()))]
        {
            self.text(at, link.and_then(|link| link.sender_id.as_deref()));
            self.text(at + 1, link.and_then(|link| link.receiver_id.as_deref()));
            self.number(at + 2, link.and_then(|link| link.create_time));
            self.number(at + 3, link.and_then(|link| link.message_server_id.as_ref()?.parse().ok()));
            self.text(at + 4, link.and_then(|link| link.message_client_id.as_deref()));
        }
        self.text(32, None);
        self.number(33, Some(0));
        self.number(34, Some(1));
        self.text(35, Some("01920000-0000-7000-8000-000000000000"));
        self.number(36, Some(fetched_at));
        self.rows += 1;
    }

    fn finish(&mut self, schema: &SchemaRef) -> Result<RecordBatch, Failure> {
        self.rows = 0;
        let arrays = self
            .columns
            .iter_mut()
            .map(|column| match column {
                Column::Text(builder) => ArrayBuilder::finish(builder),
                Column::Long(builder) => ArrayBuilder::finish(builder),
                Column::Int(builder) => ArrayBuilder::finish(builder),
                Column::Time(builder) => ArrayBuilder::finish(builder),
                Column::Flag(builder) => ArrayBuilder::finish(builder),
                Column::List(builder) => ArrayBuilder::finish(builder),
            })
            .collect();
        Ok(RecordBatch::try_new(Arc::clone(schema), arrays)?)
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, directory, out] = arguments.as_slice() else { return Err("floor URL DIR OUT".into()) };
    let requests = fs::read_to_string(Path::new(directory).join("requests.tsv"))?;
    let schema = schema();
    let (batches, filled) = mpsc::sync_channel::<RecordBatch>(4);
    let sink = std::thread::spawn({
        let (schema, path) = (Arc::clone(&schema), out.clone());
        move || write(&path, schema, &filled)
    });
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(fetch(url, requests, &schema, &batches))?;
    drop(batches);
    let rows = sink.join().map_err(|_| "the sink died")??;
    writeln!(std::io::stdout(), "{rows} messages")?;
    Ok(())
}

async fn fetch(
    url: &str,
    requests: String,
    schema: &SchemaRef,
    batches: &mpsc::SyncSender<RecordBatch>,
) -> Result<(), Failure> {
    let client = reqwest::Client::builder().http1_only().no_proxy().build()?;
    let requests: Arc<Vec<String>> = Arc::new(requests.lines().map(ToOwned::to_owned).collect());
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tables = Arc::new(Mutex::new(Vec::<Table>::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CONCURRENCY {
        let (client, requests, next, tables) =
            (client.clone(), Arc::clone(&requests), Arc::clone(&next), Arc::clone(&tables));
        let (schema, batches, url) = (Arc::clone(schema), batches.clone(), url.to_owned());
        tasks.spawn(async move {
            loop {
                let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(line) = requests.get(at) else { return Ok::<_, Failure>(()) };
                let mut parts = line.split('\t');
                let (key, conversation) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                let body = parts.next().unwrap_or_default().to_owned();
                let address =
                    format!("{url}/im/v2.1/conversations/{}/batch_messages", conversation.replace('|', "%7C"));
                let bytes = client.post(address).body(body).send().await?.bytes().await?;
                let fetched_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis() as i64;
                let reply: Reply<'_> = sonic_rs::from_slice(&bytes)?;
                if reply.code != 200 {
                    return Err("refused".into());
                }
                let lock = || tables.lock().unwrap_or_else(PoisonError::into_inner);
                let mut table = lock().pop().unwrap_or_else(Table::new);
                for item in &reply.data.success_list {
                    table.push(key, conversation, fetched_at, item);
                }
                if table.rows >= ROWS {
                    let batch = table.finish(&schema)?;
                    let batches = batches.clone();
                    tokio::task::block_in_place(|| batches.send(batch))?;
                }
                lock().push(table);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    for mut table in tables.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        batches.send(table.finish(schema)?)?;
    }
    Ok(())
}

fn write(path: &str, schema: SchemaRef, batches: &mpsc::Receiver<RecordBatch>) -> Result<usize, Failure> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(122_880));
    for (name, _, dictionary) in COLUMNS {
        if dictionary {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), true);
        }
    }
    let mut writer = ArrowWriter::try_new(File::create(path)?, schema, Some(properties.build()))?;
    let mut rows = 0;
    for batch in batches {
        rows += batch.num_rows();
        writer.write(&batch)?;
    }
    writer.close()?;
    Ok(rows)
}
