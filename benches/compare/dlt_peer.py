"""The same with dlt: dlt_peer.py parquet URL DIR OUT      dlt_peer.py postgres URL DIR DSN

A resource of messages as the API answers them; dlt normalises them into its own tables.
"""

import sys

import dlt
import orjson
import requests

kind, url, directory, target = sys.argv[1:]


@dlt.resource(name="messages", max_table_nesting=0, write_disposition="append")
def messages():
    session = requests.Session()
    with open(f"{directory}/requests.tsv", encoding="utf-8") as lines:
        for line in lines:
            _, conversation, body = line.rstrip("\n").split("\t")
            address = f"{url}/im/v2.1/conversations/{conversation.replace('|', '%7C')}/batch_messages"
            yield orjson.loads(session.post(address, data=body).content)["data"]["success_list"]


if kind == "parquet":
    destination = dlt.destinations.filesystem(bucket_url=f"file://{target}")
    options = {"loader_file_format": "parquet"}
else:
    destination, options = dlt.destinations.postgres(credentials=target), {}
pipeline = dlt.pipeline("compare", destination=destination, dataset_name="dlt_peer", pipelines_dir=f"{directory}/dlt")
pipeline.drop()
pipeline.run(messages(), **options)
