"""Whoever may write a log, an object or a message: none of it leaves its place, harms its neighbours or vanishes."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from support.replaying import replay_in_a_child
from support.trails import (
    ACCOUNT,
    DAY,
    cloudtrail_notice,
    eventbridge,
    in_sns,
    record,
    records,
    s3_event,
    trail_key,
    trail_object,
)
from support.world import World, assert_one_to_one

from pipeline.commands import show_story, status
from pipeline.config import load
from pipeline.sql.query import connect, run
from transforms.stores.files import Output

GOOD = {trail_key(f"good{n}"): trail_object(records(range(n * 5, n * 5 + 5))) for n in range(3)}
GOOD_IDS = [it["eventID"] for it in records(range(15))]
BOUND_MB = 700

_DAY = r"\d{4}-\d\d-\d\d"
_PLACES = re.compile(
    rf"(aws_s3_raw|cloud_audit_logs|sessions|detections|profiles)/account_id=(\d{{12}}|unknown)/day={_DAY}/\d{{8}}\.parquet"
    rf"|ingest_log/day={_DAY}/[0-9a-f-]{{36}}\.parquet"
    rf"|dead_letters/day=({_DAY}|unknown)/[0-9a-f]{{64}}\.avro"
    r"|\.trailweave/[a-z_.-]+"
)


def assert_everything_in_its_place(world: World) -> None:
    """Each file of the tree has a name that the design gives it, and nothing lies beside the tree."""
    files = [str(it.relative_to(world.output)) for it in world.output.rglob("*") if it.is_file()]
    assert not [it for it in files if not _PLACES.fullmatch(it)]
    assert [it.name for it in world.output.parent.iterdir()] == [world.output.name]


def in_object(*raws: bytes) -> bytes:
    return gzip.compress(b'{"Records":[' + b",".join(raws) + b"]}", 1, mtime=0)


def raw(number: int, **members: Any) -> bytes:
    return json.dumps(record(number, **members)).encode()


def with_text(number: int, before: bytes, after: bytes) -> bytes:
    """A record in which bytes are replaced that JSON could not hold."""
    text = raw(number)
    assert before in text
    return text.replace(before, after)


HTML = '<script>alert("x")</script><img src=x onerror=y>&amp;\u202e{{7*7}}'


def in_every_field(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: in_every_field(it) for key, it in value.items()}
    return HTML if isinstance(value, str) else value


def html_record(number: int) -> bytes:
    """HTML wherever a text may be; what a row cannot do without is kept."""
    kept = {name: record(number)[name] for name in ("eventID", "eventTime", "recipientAccountId")}
    session = {"type": "IAMUser", "accountId": ACCOUNT, "accessKeyId": "AKIAIOSFODNN7EXAMPLE"}
    html = in_every_field(record(number))
    return json.dumps({**html, **kept, "userIdentity": {**html["userIdentity"], **session}}).encode()


# What a hostile record becomes: a row, or a dead letter of itself.
RECORDS: dict[str, tuple[bytes, str]] = {
    "nested": (with_text(900, b'"responseElements": null', b'"x": ' + b"[" * 10_000 + b"]" * 10_000), "letter"),
    "nested objects": (
        with_text(901, b'"responseElements": null', b'"x": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
        "letter",
    ),
    "invalid UTF-8": (with_text(902, b"aws-cli", b"\xff\xfe\xc0\x80"), "letter"),
    "raw NUL": (with_text(903, b"aws-cli", b"\x00"), "letter"),
    "escaped NUL": (with_text(904, b"aws-cli", rb"\u0000"), "row"),
    "twice the id": (with_text(905, b'"eventID"', b'"eventID": "first", "eventID"'), "row"),
    "twice the account": (
        with_text(906, b'"recipientAccountId"', b'"recipientAccountId": "../..", "recipientAccountId"'),
        "row",
    ),
    "huge float": (with_text(907, b'"responseElements": null', b'"x": 1e999999'), "row"),
    "huge integer": (with_text(908, b'"responseElements": null', b'"x": ' + b"9" * 10_000), "row"),
    "long name": (raw(909, eventName="N" * 1_000_000), "row"),
    "HTML": (html_record(910), "row"),
    "wrong kinds": (raw(911, userIdentity=[1], requestParameters="x", resources={"a": 1}, readOnly="maybe"), "row"),
    "no object": (b'"text"', "letter"),
    "time that climbs": (raw(913, eventTime="../../2026-01-12T00:00:00Z"), "letter"),
    "time with a tail": (raw(914, eventTime="2026-01-12T00:00:00Z/../.."), "letter"),
    "no such day": (raw(915, eventTime="2026-02-30T00:00:00Z"), "letter"),
    "year of five digits": (raw(916, eventTime="10000-01-01T00:00:00Z"), "letter"),
    "negative year": (raw(917, eventTime="-0044-03-15T00:00:00Z"), "letter"),
    "last year": (raw(918, eventTime="9999-12-31T23:59:59Z"), "letter"),
    "first year": (raw(919, eventTime="0001-01-01T00:00:00Z"), "letter"),
    "time that is a number": (raw(920, eventTime=1e300), "letter"),
    "half of a surrogate pair": (with_text(921, b"aws-cli", rb"\ud800"), "row"),
}
ACCOUNTS = [
    "../../../etc/passwd",
    "..",
    "/etc/passwd",
    "111122223333/../x",
    "a=b/c",
    "111122223333\n",
    "\uff11" * 12,
    "1" * 200,
    "",
    None,
    111122223333,
    ["111122223333"],
]


def test_hostile_records_become_rows_or_letters_and_leave_their_neighbours_alone(aws: World) -> None:
    """Each stands in an object of its own between two that are well."""
    objects = {
        trail_key(f"h{number}"): in_object(raw(1000 + 2 * number), hostile, raw(1001 + 2 * number))
        for number, (hostile, _) in enumerate(RECORDS.values())
    }
    aws.put_all({**GOOD, **objects})

    counts = aws.ingest(until_idle_s=2).counts

    neighbours = [it["eventID"] for it in records(range(1000, 1000 + 2 * len(RECORDS)))]
    rows = [
        record(number)["eventID"] for number, (_, outcome) in enumerate(RECORDS.values(), 900) if outcome == "row"
    ]
    assert_one_to_one(aws.output, [*GOOD_IDS, *neighbours, *rows])
    letters = Counter(it["object_key"] for it in aws.letters())
    expected = {key: 1 for key, (_, outcome) in zip(objects, RECORDS.values(), strict=True) if outcome == "letter"}
    assert letters == expected
    assert all(it["scope"] == "record" and it["record_index"] == 1 and it["input"] for it in aws.letters())
    assert counts["messages_deleted"] == len(GOOD) + len(objects)
    assert (sum(aws.waiting()), aws.redriven()) == (0, 0)
    assert_everything_in_its_place(aws)


def test_what_a_record_holds_is_kept_byte_for_byte_whatever_it_is(aws: World) -> None:
    kept = {name: it for name, (it, outcome) in RECORDS.items() if outcome == "row"}
    aws.put(trail_key("all"), in_object(*kept.values()))

    aws.one_run(1)

    stored = aws.rows("aws_s3_raw")
    by_index = dict(zip(stored["source_index"].to_pylist(), stored["raw_json"].to_pylist(), strict=True))
    for place, (name, text) in enumerate(kept.items()):
        found = by_index[place]
        assert (found.encode() if isinstance(found, str) else found) == text, name


def test_no_account_leads_out_of_the_partitions(aws: World) -> None:
    """An account that is none is taken from the caller, else from the key, which says it in digits."""
    identity = record(0)["userIdentity"]
    everywhere = [
        raw(n, recipientAccountId=account, userIdentity={**identity, "accountId": account})
        for n, account in enumerate(ACCOUNTS)
    ]
    there = [raw(100 + n, recipientAccountId=account) for n, account in enumerate(ACCOUNTS)]
    aws.put(trail_key("accounts"), in_object(*everywhere, *there))
    aws.put(
        "no/account/in/this.json.gz", in_object(*[it.replace(b'"eventID": "', b'"eventID": "k') for it in everywhere])
    )

    counts = aws.ingest(until_idle_s=2).counts

    assert counts["events_written"] == 3 * len(ACCOUNTS)
    assert not aws.letters()
    assert_everything_in_its_place(aws)
    assert {it.name for it in (aws.output / "aws_s3_raw").iterdir()} == {
        f"account_id={ACCOUNT}",
        "account_id=unknown",
    }


KEYS = [
    f"AWSLogs/{ACCOUNT}/CloudTrail/us-east-1/2026/01/12/../../../../../../etc/passwd.json.gz",
    f"AWSLogs/../{ACCOUNT}/CloudTrail/x.json.gz",
    "AWSLogs/account_id=evil/day=2026-01-01/x.json.gz",
    "aws_s3_raw/account_id=..%2F..%2Fevil/day=2026-01-01/x.json.gz",
    f"AWSLogs/{ACCOUNT}/CloudTrail/us-east-1/9999/99/99/x.json.gz",
    "new\nline\tand\x1b[2Jescape.json.gz",
    "equals=and&amp;percent%2F%00plus+space .json.gz",
    "\u202eunicode\u2028 \U0001f600 ünï.json.gz",
    "'; DROP TABLE objects; --.json.gz",
    "<script>alert(1)</script>.json.gz",
    "k" * 1_000 + ".json.gz",
]


def test_hostile_keys_name_objects_and_nothing_else(aws: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Read, or found missing where the way to S3 makes another path of them: each has its outcome in the ledger."""
    bodies = {key: trail_object(records(range(n * 3, n * 3 + 3))) for n, key in enumerate(KEYS)}
    for key, body in bodies.items():
        aws.s3.put_object(Bucket=aws.bucket, Key=key, Body=body)
    aws.sqs.purge_queue(QueueUrl=aws.queue_url)
    aws.send(*(s3_event(aws.bucket, key) for key in KEYS), *(eventbridge(aws.bucket, key) for key in KEYS))
    aws.send(in_sns(cloudtrail_notice(aws.bucket, *KEYS)))

    aws.ingest(until_idle_s=2)

    assert sum(aws.waiting()) == 0
    outcomes = dict(aws.outcomes())
    assert set(outcomes) == set(KEYS)
    read = [key for key in KEYS if outcomes[key] == "done"]
    assert len(read) >= len(KEYS) - 2
    assert_one_to_one(aws.output, [it["eventID"] for key in read for it in _records_of(bodies[key])])
    assert_everything_in_its_place(aws)
    # What an operator looks at shows them without obeying them.
    status(load({"output": str(aws.output)}), as_json=False)
    with connect(Output(str(aws.output))) as connection:
        listed = run(connection, "SELECT DISTINCT object_key FROM objects").read_all()["object_key"].to_pylist()
    assert set(listed) == set(KEYS)
    assert not set(capsys.readouterr().out) & {"\x1b", "\u202e", "\u2028", "\x00"}


def _records_of(body: bytes) -> list[dict[str, Any]]:
    return list(json.loads(gzip.decompress(body))["Records"])


def test_a_message_that_names_another_bucket_makes_no_call_to_it(make_world: Callable[..., World]) -> None:
    faulty = make_world(proxied=True)
    other = f"{faulty.bucket}-secrets"
    faulty.s3.create_bucket(Bucket=other)
    key = trail_key("planted")
    faulty.s3.put_object(Bucket=other, Key=key, Body=trail_object(records(range(50, 55))))
    faulty.put_all(GOOD)
    planted = [
        s3_event(other, key),
        eventbridge(other, key),
        in_sns(s3_event(other, key)),
        in_sns(cloudtrail_notice(other, key)),
        s3_event(f"{faulty.bucket}/../{other}", key),
        s3_event(f"../{other}", key),
        s3_event("file:", "/etc/passwd"),
        s3_event("", "/etc/passwd"),
        eventbridge("169.254.169.254", "latest/meta-data"),
    ]
    faulty.send(*planted)

    counts = faulty.ingest(buckets=(faulty.bucket,), until_idle_s=2).counts

    assert counts["messages_deleted"] == len(GOOD) + len(planted)
    assert_one_to_one(faulty.output, GOOD_IDS)
    assert {it.bucket for it in faulty.proxy.calls("GetObject")} == {faulty.bucket}
    # Each is told: ignored with its reason, or a dead letter of a message that is none.
    ledger = faulty.rows("ingest_log").to_pylist()
    ignored = [it for it in ledger if it["outcome"] == "ignored"]
    letters = [it for it in faulty.letters() if it["scope"] == "message"]
    assert len(ignored) + len(letters) >= len(planted)
    assert all(it["reason"] for it in ignored)


def test_without_an_allow_list_no_message_makes_a_local_file_be_read(aws: World, tmp_path: Path) -> None:
    """The name of a local file's bucket is one that no bucket can have."""
    secret = tmp_path / "out.json.gz"
    secret.write_bytes(trail_object(records(range(5))))
    aws.send(*(make("file:", str(secret)) for make in (s3_event, eventbridge, cloudtrail_notice)))

    counts = aws.one_run(3)

    secret.unlink()
    assert counts["messages_deleted"] == 3
    assert counts["events_written"] == 0
    assert len(aws.letters()) == 3


MESSAGES = [
    "",
    "null",
    "[]",
    "{}",
    "\x00",
    "[" * 100_000,
    '{"Records":' + "[" * 50_000 + "]" * 50_000 + "}",
    '{"Records":[{"s3":null}]}',
    json.dumps(
        {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": HTML}, "object": {"key": 1}}}]}
    ),
    json.dumps({"Type": "Notification", "Message": "{" * 10_000}),
    json.dumps({"Records": 1e308}),
    '{"Records": 1e999999}',
    '"\\ud800"',
    HTML,
]


def test_hostile_messages_are_deleted_with_an_outcome_and_harm_no_neighbour(aws: World) -> None:
    aws.put_all(GOOD)
    nested = s3_event(aws.bucket, *GOOD)
    for _ in range(8):
        nested = in_sns(nested)
    sendable = [it for it in (*MESSAGES, nested) if it and "\x00" not in it and len(it.encode()) < 250_000]
    for body in sendable:
        aws.send(body)

    counts = aws.ingest(until_idle_s=2).counts

    assert counts["messages_deleted"] == len(GOOD) + len(sendable)
    assert_one_to_one(aws.output, GOOD_IDS)
    assert (sum(aws.waiting()), aws.redriven()) == (0, 0)
    assert_everything_in_its_place(aws)


def bomb(compress: Callable[[bytes], bytes], megabytes: int) -> bytes:
    """An object that is a trail to begin with, and then blanks for ever."""
    head = b'{"Records":[' + raw(800) + b","
    return compress(head + b" " * (megabytes << 20) + b"]}")


def giant(megabytes: int) -> bytes:
    """A single record of so many megabytes, between two others."""
    text = io.BytesIO()
    with gzip.GzipFile(fileobj=text, mode="wb", compresslevel=1) as file:
        file.write(b'{"Records":[' + raw(810) + b',{"eventID":"giant","userAgent":"')
        block = bytes(range(97, 123)) * 40_330
        for _ in range(megabytes):
            file.write(block)
        file.write(b'"},' + raw(811) + b"]}")
    return text.getvalue()


@pytest.mark.parametrize(
    ("bomb_mb", "giant_mb", "many"),
    [
        pytest.param(200, 100, 5_000, id="scaled down"),
        pytest.param(4_000, 1_000, 1_000_000, id="a record of a gigabyte", marks=pytest.mark.soak),
    ],
)
def test_bombs_and_a_giant_record_pass_in_bounded_memory(
    tmp_path: Path, bomb_mb: int, giant_mb: int, many: int
) -> None:
    """What bounds the memory are the caps on text and records, which these exceed."""
    source = tmp_path / "in"
    for key, body in {
        **GOOD,
        trail_key("gzip-bomb"): bomb(lambda text: gzip.compress(text, 9), bomb_mb),
        trail_key("zstd-bomb"): bomb(zstandard.ZstdCompressor(19).compress, bomb_mb),
        trail_key("bomb-in-bomb"): gzip.compress(gzip.compress(bytes(bomb_mb << 20), 9, mtime=0), 9),
        trail_key("giant"): giant(giant_mb),
        trail_key("many"): in_object(*(raw(n) for n in range(10_000, 10_000 + many))),
    }.items():
        path = source / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)

    told, peak_mb = replay_in_a_child(source, tmp_path / "out")

    print(f"peak {peak_mb} MB; bombs of {bomb_mb} MB, a record of {giant_mb} MB, an object of {many:,} records")
    assert peak_mb < BOUND_MB
    world = World.__new__(World)
    world.output = tmp_path / "out"
    letters = [(it["object_key"].rpartition("_")[2].split(".")[0], it["scope"]) for it in world.letters()]
    # The giant is a bad record among others, as is what a bomb's inside is; a bomb is damage of its object.
    assert [it for it in letters if it[0] == "giant"] == [("giant", "record")]
    assert {it for it, scope in letters if scope == "object"} == {"gzip-bomb", "zstd-bomb"}
    assert [it for it in letters if it[0] == "bomb-in-bomb"] == [("bomb-in-bomb", "record")]
    assert max(len(it["input"] or b"") for it in world.letters()) <= 32_000_000
    assert told["written"] == len(GOOD_IDS) + 1 + 2 + many
    numbers = [800, 810, 811, *range(10_000, 10_000 + many)]
    assert_one_to_one(world.output, [*GOOD_IDS, *(f"{ACCOUNT}-{DAY}-{it:08}" for it in numbers)])


def test_html_is_data_in_every_column_and_on_no_terminal_more_than_text(
    aws: World, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.put(trail_key("html"), in_object(html_record(1), html_record(2)))
    aws.one_run(1)

    for row in aws.rows("cloud_audit_logs").to_pylist():
        assert {row[name] for name in ("operation_name_orig", "user_agent", "identity_name", "region")} <= {
            HTML,
            None,
        }
        assert row["user_agent"] == row["operation_name_orig"] == HTML
    show_story(load({"output": str(aws.output)}), {"event": record(1)["eventID"]}, as_json=False)
    shown = capsys.readouterr().out
    assert "script" in shown
    assert not set(shown) & {"\x1b", "\u202e"}
