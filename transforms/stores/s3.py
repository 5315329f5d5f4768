"""An output root on S3. Create if absent: one `PutObject` with `If-None-Match: *` (412 = taken, 409 = again)."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

from schemas.errors import AccessError, StoreError
from transforms.stores.aws import ATTEMPTS, Access, client
from transforms.stores.aws_faults import UNREACHED, calling
from transforms.stores.bucket import BucketStore
from transforms.stores.faults import CallFault
from transforms.stores.listed import Listed

_TRIES = 6
_HASTY_ATTEMPTS = 3


@dataclass(frozen=True)
class S3Store(BucketStore):
    """A prefix of a bucket on S3, or on a store that honours `If-None-Match` as S3 does.

    A `hasty` one soon gives up where nothing answers, for whoever waits for it.
    """

    scheme = "s3"

    access: Access
    hasty: bool = False

    def create(self, path: str, content: bytes) -> bool:
        return self._create(path, lambda: io.BytesIO(content))

    def create_from(self, path: str, source: Path) -> bool:
        return self._create(path, lambda: source.open("rb"))

    def _create(self, path: str, opened: Callable[[], BinaryIO]) -> bool:
        for attempt in range(_TRIES):
            try:
                with self._calling("s3:PutObject", path), opened() as content:
                    self._s3.put_object(Bucket=self.bucket, Key=self.key(path), Body=content, IfNoneMatch="*")
                return True
            except CallFault as fault:
                if fault.kind == "taken":
                    return False
                if fault.kind != "transient" or attempt == _TRIES - 1 or (self.hasty and fault.code in UNREACHED):
                    raise AccessError(str(fault)) from fault
                time.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    def remove(self, path: str) -> None:
        try:
            with self._calling("s3:DeleteObject", path):
                self._s3.delete_object(Bucket=self.bucket, Key=self.key(path))
        except CallFault as fault:
            raise AccessError(str(fault)) from fault

    def _get(self, path: str, part: tuple[int, int] | None = None) -> bytes:
        """The body; one that breaks off on its way, which boto3 does not retry, is asked for again."""
        asked = {"Range": f"bytes={part[0]}-{part[1]}"} if part else {}
        for attempt in range(_TRIES):
            try:
                with self._calling("s3:GetObject", path):
                    body: bytes = self._s3.get_object(Bucket=self.bucket, Key=self.key(path), **asked)["Body"].read()
                    return body
            except CallFault as fault:
                if fault.kind != "transient" or attempt == _TRIES - 1:
                    raise
                time.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    def _length(self, path: str) -> int:
        with self._calling("s3:GetObject", path):
            return int(self._s3.head_object(Bucket=self.bucket, Key=self.key(path))["ContentLength"])

    def names(self, folder: str, after: str = "") -> list[str]:
        return sorted(name for name, _, _ in self._listing(folder, after, "Contents", "Key") if name[0] != ".")

    def listed(self, folder: str) -> list[Listed]:
        return sorted(
            (
                Listed(name, entry["Size"], (self._time_of(page) - entry["LastModified"]).total_seconds())
                for name, entry, page in self._listing(folder, "", "Contents", "Key")
                if name[0] != "."
            ),
            key=attrgetter("name"),
        )

    def folders(self, folder: str) -> list[str]:
        found = self._listing(folder, "", "CommonPrefixes", "Prefix")
        return sorted(name.rstrip("/") for name, _, _ in found if name[0] != ".")

    def _listing(
        self, folder: str, after: str, group: str, member: str
    ) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        """(name, entry, answer that it is from) of what stands directly in the folder."""
        prefix = self._folder(folder)
        try:
            with self._calling("s3:ListBucket", folder):
                pages = self._s3.get_paginator("list_objects_v2").paginate(
                    Bucket=self.bucket,
                    Prefix=prefix,
                    Delimiter="/",
                    **({"StartAfter": prefix + after} if after else {}),
                )
                for page in pages:
                    yield from (
                        (entry[member][len(prefix) :], entry, page)
                        for entry in page.get(group, ())
                        if len(entry[member]) > len(prefix)
                    )
        except CallFault as fault:
            raise AccessError(str(fault)) from fault

    def _time_of(self, answer: dict[str, Any]) -> datetime:
        told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        if not told:
            raise StoreError(
                f"{self.describe('')} answers without the header Date, so nobody knows how old its objects are;"
                " do not compact there"
            )
        return parsedate_to_datetime(told)

    @property
    def _s3(self) -> Any:
        return client("s3", self.access, _HASTY_ATTEMPTS if self.hasty else ATTEMPTS)

    def _calling(self, action: str, path: str) -> contextlib.AbstractContextManager[None]:
        return calling(action, self.describe(path), self.access)
