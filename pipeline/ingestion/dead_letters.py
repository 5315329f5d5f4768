"""`trailweave replay --dead-letters`: what could not be processed is fed in again, after a fix."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import fastavro

from schemas.datasets import DEAD_LETTERS
from schemas.errors import StoreError
from schemas.values import GOOGLE, Delivery, Message, ObjectRef
from transforms.parse_notifications import parse_notification
from transforms.stores.files import Output, Store, damage, open_store
from transforms.stores.gcs import GcsStore
from transforms.stores.local import LocalStore
from transforms.stores.objects import local_ref
from transforms.stores.s3 import S3Store
from transforms.stores.sources import Source

SOURCE = "dead_letters"
# Its rows of the ledger count a part of an object; no [[source]] can have such a name. The view `objects` knows it.
RECORDS = "records of dead letters"


def dead_letter_sources(output: Output) -> dict[str, Source]:
    """The sources that the messages below are of, beside those that were configured."""
    return {name: Source(name, access=output.access) for name in (SOURCE, RECORDS)}


def dead_letter_messages(output: Output, sources: Mapping[str, Source]) -> Iterator[Message]:
    """Each file of dead letters as messages.

    Bad records come from the file itself, which holds them; an object is read again from where it was; a message's
    body is parsed again. An object is read with the access of the source whose allow-list names its bucket, else of
    the first source, else that of the output root.
    """
    store = open_store(output)
    for day in store.folders(DEAD_LETTERS.name):
        folder = f"{DEAD_LETTERS.name}/{day}"
        for name in store.names(folder):
            yield from _of_file(store, f"{folder}/{name}", sources)


def _of_file(store: Store, path: str, sources: Mapping[str, Source]) -> Iterator[Message]:
    letters = _letters(store, path)
    if any(it["scope"] == "record" for it in letters):
        yield Message(RECORDS, (_reference(store, path),))
    for letter in letters:
        if letter["scope"] == "object":
            ref = ObjectRef(letter["object_bucket"], letter["object_key"])
            yield Message(_source_of(ref, sources), (ref,))
        elif letter["scope"] == "message":
            yield _of_body(letter, sources)


def _letters(store: Store, path: str) -> list[Any]:
    try:
        return [*fastavro.reader(io.BytesIO(store.read(path) or b""))]
    except (ValueError, EOFError, StopIteration) as error:
        raise StoreError(damage(store, path, "Avro", error)) from error


def _of_body(letter: Any, sources: Mapping[str, Source]) -> Message:
    body = letter["input"].decode("utf-8", "surrogatepass")
    message = parse_notification(Delivery(SOURCE, body, None), sources[SOURCE])
    source = _source_of(message.objects[0], sources) if message.objects else SOURCE
    return Message(source, message.objects, None, message.dead_letters, message.settled)


def _source_of(ref: ObjectRef, sources: Mapping[str, Source]) -> str:
    others = [it for name, it in sources.items() if name not in (SOURCE, RECORDS)]
    named = [it for it in others if ref.bucket in it.buckets]
    return (named or others or [sources[SOURCE]])[0].name


def _reference(store: Store, path: str) -> ObjectRef:
    if isinstance(store, S3Store):
        return ObjectRef(store.bucket, store.key(path))
    if isinstance(store, GcsStore):
        return ObjectRef(f"{GOOGLE}{store.bucket}", store.key(path))
    assert isinstance(store, LocalStore)
    return local_ref(store.describe(path))
