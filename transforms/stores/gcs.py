"""An output root on Google Cloud Storage (extra `gcs`).

Create if absent: an upload on condition that there is no generation, `ifGenerationMatch=0` (412 = taken).
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from schemas.errors import AccessError
from transforms.stores import gcloud
from transforms.stores.bucket import BucketStore
from transforms.stores.faults import CallFault
from transforms.stores.listed import Listed


@dataclass(frozen=True)
class GcsStore(BucketStore):
    """A prefix of a bucket on Google Cloud Storage."""

    scheme = "gs"

    def create(self, path: str, content: bytes) -> bool:
        return self._create(path, io.BytesIO(content))

    def create_from(self, path: str, source: Path) -> bool:
        with source.open("rb") as content:
            return self._create(path, content)

    def _create(self, path: str, content: BinaryIO) -> bool:
        # A repeated try whose first answer was lost is told "taken": the caller finds its own content there.
        size = content.seek(0, io.SEEK_END)
        options = {"rewind": True, "size": size, "if_generation_match": 0, "timeout": gcloud.TIMEOUT_S}
        try:
            with self._calling("storage.objects.create", path):
                self._blob(path).upload_from_file(content, content_type="application/octet-stream", **options)
            return True
        except CallFault as fault:
            if fault.kind == "taken":
                return False
            raise AccessError(str(fault)) from fault

    def remove(self, path: str) -> None:
        try:
            with self._calling("storage.objects.delete", path):
                self._blob(path).delete(timeout=gcloud.TIMEOUT_S)
        except CallFault as fault:
            if fault.kind != "missing":
                raise AccessError(str(fault)) from fault

    def _get(self, path: str, part: tuple[int, int] | None = None) -> bytes:
        first, last = part or (None, None)
        with self._calling("storage.objects.get", path):
            content: bytes = self._blob(path).download_as_bytes(
                start=first, end=last, raw_download=True, timeout=gcloud.TIMEOUT_S
            )
            return content

    def _length(self, path: str) -> int:
        with self._calling("storage.objects.get", path):
            found = self._blob(path)
            found.reload(timeout=gcloud.TIMEOUT_S)
            return int(found.size)

    def names(self, folder: str, after: str = "") -> list[str]:
        prefix = self._folder(folder)
        found = (
            it.name[len(prefix) :]
            for page in gcloud.pages(self.bucket, prefix, "items(name)", delimiter="/", start_offset=prefix + after)
            for it in page
        )
        return sorted(name for name in found if name > after and name and name[0] != ".")

    def listed(self, folder: str) -> list[Listed]:
        prefix = self._folder(folder)
        listing = gcloud.pages(self.bucket, prefix, "items(name,size,timeCreated)", delimiter="/")
        found = [(it.name[len(prefix) :], int(it.size), it.time_created) for page in listing for it in page]
        kept = sorted(it for it in found if it[0] and it[0][0] != ".")
        now = gcloud.now(self.bucket) if kept else None
        return [Listed(name, size, (now - created).total_seconds()) for name, size, created in kept if now]

    def folders(self, folder: str) -> list[str]:
        prefix = self._folder(folder)
        listing = gcloud.pages(self.bucket, prefix, "prefixes", delimiter="/")
        found = (it[len(prefix) : -1] for page in listing for it in page.prefixes)
        return sorted(name for name in found if name and name[0] != ".")

    def _blob(self, path: str) -> Any:
        return gcloud.blob(self.bucket, self.key(path))

    def _calling(self, action: str, path: str) -> contextlib.AbstractContextManager[None]:
        return gcloud.calling(action, self.describe(path))
