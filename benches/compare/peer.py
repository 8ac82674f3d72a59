"""What one would write by hand in Python: aiohttp, orjson, and pyarrow or asyncpg.

peer.py parquet URL DIR OUT      peer.py postgres URL DIR DSN

Sends the ready requests of DIR/requests.tsv; no ledger, no retry, no account of what was asked.
"""

import asyncio
import sys
import time
from datetime import datetime, timezone

import aiohttp
import orjson

CONCURRENCY = 32
FLUSH = 50_000
APP, RUN = "simulated-app-key", "01920000-0000-7000-8000-000000000000"
TEXT, LONG, INT, TIME, JSON, FLAG, LIST = "text", "long", "int", "time", "json", "flag", "list"
COLUMNS = [
    ("app_key", TEXT), ("conversation_key", TEXT), ("conversation_id", TEXT), ("conversation_type", INT),
    ("message_server_id", LONG), ("revision", INT), ("message_client_id", TEXT), ("sender_id", TEXT),
    ("receiver_id", TEXT), ("team_id", LONG), ("create_time", TIME), ("message_type", INT), ("sub_type", INT),
    ("sender_client_type", INT), ("text", TEXT), ("attachment", JSON), ("extension", TEXT),
    ("modify_account_id", TEXT), ("modify_time", TIME), ("receiver_account_ids", LIST), ("inclusive", FLAG),
    ("new_member_visible", FLAG), ("thread_root_sender_id", TEXT), ("thread_root_receiver_id", TEXT),
    ("thread_root_create_time", TIME), ("thread_root_message_server_id", LONG),
    ("thread_root_message_client_id", TEXT), ("thread_reply_sender_id", TEXT), ("thread_reply_receiver_id", TEXT),
    ("thread_reply_create_time", TIME), ("thread_reply_message_server_id", LONG),
    ("thread_reply_message_client_id", TEXT), ("extra", JSON), ("substituted", FLAG), ("requested", FLAG),
    ("run_id", TEXT), ("fetched_at", TIME),
]
FEW = [name for name, kind in COLUMNS if name in {
    "app_key", "conversation_key", "conversation_id", "conversation_type", "revision", "sender_id", "receiver_id",
    "team_id", "message_type", "sub_type", "sender_client_type", "modify_account_id", "thread_root_sender_id",
    "thread_root_receiver_id", "thread_reply_sender_id", "thread_reply_receiver_id", "run_id",
}]


def row(key, conversation, fetched_at, item):
    get = item.get
    attachment = get("attachment")
    threads = get("thread_config") or {}
    values = [
        APP, key, conversation, item["conversation_type"], int(item["message_server_id"]), 0,
        get("message_client_id"), get("sender_id"), get("receiver_id"), get("team_id"), item["create_time"],
        get("message_type"), get("sub_type"), get("sender_client_type"), get("text"),
        orjson.dumps(attachment).decode() if attachment else None, get("extension"), get("modify_account_id"),
        get("modify_time") or None, get("receiver_account_ids"), get("inclusive"), get("new_member_visible"),
    ]
    for name in ("thread_root", "thread_reply"):
        link = threads.get(name)
        if link:
            values += [link.get("sender_id"), link.get("receiver_id"), link.get("create_time"),
                       int(link["message_server_id"]), link.get("message_client_id")]
        else:
            values += [None] * 5
    values += [None, False, True, RUN, fetched_at]
    return values


class Parquet:
    def __init__(self, path):
        import pyarrow
        import pyarrow.parquet

        self.arrow = pyarrow
        kinds = {TEXT: pyarrow.string(), JSON: pyarrow.string(), LONG: pyarrow.int64(), INT: pyarrow.int32(),
                 TIME: pyarrow.timestamp("ms", "UTC"), FLAG: pyarrow.bool_(), LIST: pyarrow.list_(pyarrow.string())}
        self.schema = pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS])
        self.writer = pyarrow.parquet.ParquetWriter(
            path, self.schema, compression="zstd", compression_level=3, use_dictionary=FEW)

    async def write(self, rows):
        columns = [self.arrow.array(values, type=field.type) for values, field in zip(zip(*rows), self.schema)]
        self.writer.write_batch(self.arrow.record_batch(columns, schema=self.schema))

    async def close(self):
        self.writer.close()


class Postgres:
    def __init__(self, dsn):
        self.dsn = dsn
        self.connection = None
        self.times = [at for at, (_, kind) in enumerate(COLUMNS) if kind == TIME]

    async def write(self, rows):
        if self.connection is None:
            import asyncpg

            self.connection = await asyncpg.connect(self.dsn)
        for values in rows:
            for at in self.times:
                if values[at] is not None:
                    values[at] = datetime.fromtimestamp(values[at] / 1000, timezone.utc)
        await self.connection.copy_records_to_table("messages", records=rows, columns=[name for name, _ in COLUMNS])

    async def close(self):
        await self.connection.close()


async def main():
    kind, url, directory, target = sys.argv[1:]
    sink = Parquet(target) if kind == "parquet" else Postgres(target)
    with open(f"{directory}/requests.tsv", encoding="utf-8") as lines:
        requests = iter([line.rstrip("\n").split("\t") for line in lines])
    rows = []
    writing = asyncio.Lock()

    async def flush():
        nonlocal rows
        full, rows = rows, []
        async with writing:
            if full:
                await sink.write(full)

    async def work(session):
        for key, conversation, body in requests:
            address = f"{url}/im/v2.1/conversations/{conversation.replace('|', '%7C')}/batch_messages"
            async with session.post(address, data=body) as response:
                reply = orjson.loads(await response.read())
            now = int(time.time() * 1000)
            rows.extend(row(key, conversation, now, item) for item in reply["data"]["success_list"])
            if len(rows) >= FLUSH:
                await flush()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session:
        await asyncio.gather(*(work(session) for _ in range(CONCURRENCY)))
    await flush()
    await sink.close()


asyncio.run(main())
