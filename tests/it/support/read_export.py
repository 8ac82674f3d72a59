"""Reads an export with readers that are not ours, and prints what they see as JSON: read_export.py DIR"""
import csv
import email
import email.policy
import glob
import html.parser
import io
import json
import os
import sys
import xml.etree.ElementTree
import zipfile

root = sys.argv[1]
out = {"manifest": json.load(open(os.path.join(root, "export.json"), encoding="utf-8"))}


def read_csv(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def read_parquet(path):
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(path).read()
    names = [[field.name, str(field.type), field.nullable] for field in table.schema]
    return {"schema": names, "rows": json.loads(json.dumps(table.to_pylist(), default=str))}


class Page(html.parser.HTMLParser):
    """What a browser would see: elements, links, and the text of every message."""

    VOID = {"meta"}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.links, self.ids = set(), set(), [], []
        self.policy, self.messages, self.open, self.errors = None, [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        attrs = dict(attrs)
        self.attributes.update(attrs)
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy":
            self.policy = attrs["content"]
        if tag == "a":
            self.links.append(attrs["href"])
        if tag == "article":
            self.messages.append({"id": int(attrs["id"][1:]), "class": attrs["class"], "parts": {}})
        if tag not in self.VOID:
            self.open.append((tag, attrs.get("class", "")))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        if not self.open or self.open[-1][0] != tag:
            self.errors.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_data(self, data):
        if not any(tag == "article" for tag, _ in self.open):
            return
        names = [name for _, name in self.open]
        tags = [tag for tag, _ in self.open]
        part = "quote" if "blockquote" in tags else "earlier" if "was" in names else None
        part = part or ("text" if "t" in names else "json" if "pre" in tags else "file" if "f" in names else None)
        part = part or ("who" if "who" in names[-1] else "tag" if "tag" in names[-1] else "other")
        parts = self.messages[-1]["parts"]
        parts[part] = parts.get(part, "") + data


def read_html(path):
    page = Page()
    page.feed(open(path, encoding="utf-8", newline="").read())
    page.close()
    xml.etree.ElementTree.parse(path)
    return {
        "tags": sorted(page.tags),
        "attributes": sorted(page.attributes),
        "links": page.links,
        "policy": page.policy,
        "messages": page.messages,
        "errors": page.errors + [f"<{tag}> is not closed" for tag, _ in page.open],
    }


def read_rsmf(path):
    message = email.message_from_bytes(open(path, "rb").read(), policy=email.policy.default)
    headers = {name: str(value) for name, value in message.items()}
    text = message.get_body(preferencelist=("plain",)).get_content()
    attachments = list(message.iter_attachments())
    assert [part.get_filename() for part in attachments] == ["rsmf.zip"], attachments
    archive = zipfile.ZipFile(io.BytesIO(attachments[0].get_payload(decode=True)))
    assert archive.testzip() is None and archive.namelist() == ["rsmf_manifest.json"]
    manifest = json.loads(archive.read("rsmf_manifest.json"))
    return {"headers": headers, "text": text, "manifest": manifest, "wrong": list(wrong(headers, manifest))}


def wrong(headers, manifest):
    """Where a manifest leaves the published structure of version 2.0.0, types and references between its parts."""

    def check(what, value, required, optional):
        for name, kind in required.items():
            if not isinstance(value.get(name), kind) or value[name] == "":
                yield f"{what}: {name} is {value.get(name)!r}"
        for name, given in value.items():
            kind = {**required, **optional}.get(name)
            if kind is None or not isinstance(given, kind):
                yield f"{what}: {name} may not be {given!r}"
        for custom in value.get("custom", []):
            if set(custom) != {"name", "value"} or not all(isinstance(v, str) and v for v in custom.values()):
                yield f"{what}: custom {custom!r}"

    yield from check(
        "manifest",
        manifest,
        {"version": str, "participants": list, "conversations": list, "events": list},
        {"eventcollectionid": str},
    )
    people = {"display": str, "email": str, "avatar": str, "account_id": str, "custom": list}
    for participant in manifest["participants"]:
        yield from check("participant", participant, {"id": str}, people)
    ids = [participant["id"] for participant in manifest["participants"]]
    if len(ids) != len(set(ids)):
        yield "participants repeat"
    for conversation in manifest["conversations"]:
        yield from check(
            "conversation",
            conversation,
            {"id": str, "platform": str, "participants": list},
            {"display": str, "type": str, "custodian": str, "custom": list, "icon": str},
        )
        if conversation.get("type") not in ("direct", "channel"):
            yield f"conversation type {conversation.get('type')!r}"
        if not set(conversation["participants"]) <= set(ids):
            yield "a conversation has participants that are none"
    conversations = {conversation["id"] for conversation in manifest["conversations"]}
    events = {event.get("id") for event in manifest["events"]}
    for event in manifest["events"]:
        yield from check(
            "event",
            event,
            {"type": str},
            {
                "id": str, "parent": str, "body": str, "participant": str, "conversation": str, "timestamp": str,
                "deleted": bool, "importance": str, "reactions": list, "attachments": list, "edits": list,
                "custom": list, "direction": str, "read_receipts": list,
            },
        )
        if event["type"] not in ("message", "disclaimer", "join", "leave", "history", "unknown"):
            yield f"event type {event['type']!r}"
        if event["participant"] not in ids or event["conversation"] not in conversations:
            yield f"event {event['id']} is of nobody or nowhere"
        if "parent" in event and event["parent"] not in events:
            yield f"event {event['id']} has a parent that is none"
        for edit in event.get("edits", []):
            yield from check("edit", edit, {"participant": str}, {"timestamp": str, "previous": str, "new": str})
            if edit["participant"] not in ids:
                yield "an edit is nobody's"
    times = sorted(event["timestamp"] for event in manifest["events"])
    expected = {
        "X-RSMF-Version": "2.0.0",
        "X-RSMF-EventCount": str(len(times)),
        "X-RSMF-BeginDate": times[0],
        "X-RSMF-EndDate": times[-1],
        "X-RSMF-EventCollectionID": manifest["eventcollectionid"],
    }
    for name, value in expected.items():
        if headers.get(name) != value:
            yield f"{name} is {headers.get(name)!r} and not {value!r}"


readers = {".csv": read_csv, ".parquet": read_parquet, ".html": read_html, ".rsmf": read_rsmf}
for path in sorted(glob.glob(os.path.join(root, "**"), recursive=True)):
    name = os.path.relpath(path, root)
    reader = readers.get(os.path.splitext(path)[1])
    if path.endswith(".jsonl"):
        out[name] = [json.loads(line) for line in open(path, encoding="utf-8", newline="\n")]
    elif reader:
        out[name] = reader(path)
json.dump(out, sys.stdout)
