"""The one module that builds Google Cloud clients; what their calls fail with is told as `CallFault`, by its kinds.

Credentials are Google's application default ones. `STORAGE_EMULATOR_HOST` names an emulator, as in Google's own
tools. The library retries passing faults itself, for two minutes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

from schemas.errors import AccessError, ConfigError
from transforms.stores.faults import CallFault

TIMEOUT_S = 60
_CONNECTIONS = 64
# Threads that want the client at once get the same.
_building = threading.RLock()
_TRANSIENT = {408, 409, 429}
_INSTALL = "gs:// needs Google's client: pip install 'trailweave[gcs]'"


def emulator() -> str | None:
    """The address of an emulator that stands for Google's, if one is named."""
    return os.environ.get("STORAGE_EMULATOR_HOST")


def blob(bucket: str, key: str, generation: str | None = None) -> Any:
    """An object's handle; no call is made. Raises ConfigError without the extra, AccessError without credentials."""
    return client().bucket(bucket).blob(key, generation=int(generation) if generation else None)


def client() -> Any:
    """The client, one per process and endpoint; shared between threads."""
    with _building:
        return _client(emulator())


@lru_cache(maxsize=8)
def _client(endpoint: str | None) -> Any:
    try:
        from google.auth.exceptions import DefaultCredentialsError
        from google.cloud import storage
        from requests.adapters import HTTPAdapter
    except ImportError as error:
        raise ConfigError(_INSTALL) from error
    try:
        made = storage.Client(project=None) if endpoint is None else _anonymous(storage, endpoint)
    except DefaultCredentialsError as error:
        raise AccessError(
            "gs:// needs Google credentials and there are none; set GOOGLE_APPLICATION_CREDENTIALS, or run"
            " `gcloud auth application-default login`"
        ) from error
    # As many connections as objects are read at a time.
    for scheme in ("https://", "http://"):
        made._http.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return made


def _anonymous(storage: Any, endpoint: str) -> Any:
    from google.auth.credentials import AnonymousCredentials

    return storage.Client(
        project="emulated", credentials=AnonymousCredentials(), client_options={"api_endpoint": endpoint}
    )


def pages(bucket: str, prefix: str, fields: str, **options: Any) -> Iterator[Any]:
    """A listing page by page: each is an iterable of objects, with `prefixes` beside. Raises AccessError."""
    try:
        with calling("storage.objects.list", f"gs://{bucket}/{prefix}"):
            yield from (
                client()
                .list_blobs(bucket, prefix=prefix, fields=f"{fields},nextPageToken", timeout=TIMEOUT_S, **options)
                .pages
            )
    except CallFault as fault:
        raise AccessError(str(fault)) from fault


def now(bucket: str) -> datetime:
    """Google's own time, as an answer's header tells it. Raises AccessError."""
    try:
        with calling("storage.objects.list", f"gs://{bucket}"):
            asked = client()._connection.build_api_url(f"/b/{bucket}/o", {"maxResults": 1, "fields": "kind"})
            with client()._http.get(asked, timeout=TIMEOUT_S) as answer:
                answer.raise_for_status()
                return parsedate_to_datetime(answer.headers["Date"])
    except CallFault as fault:
        raise AccessError(str(fault)) from fault


@contextmanager
def calling(action: str, resource: str) -> Iterator[None]:
    """Turn what Google's client raises inside into a `CallFault` that names action and resource."""
    try:
        yield
    except CallFault:
        raise
    except Exception as error:
        fault = _fault(error, action, resource)
        if fault is None:
            raise
        raise fault from error


def _fault(error: Exception, action: str, resource: str) -> CallFault | None:
    """The error in our terms; None for one that is none of a call's."""
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from requests.exceptions import RequestException

    name = type(error).__name__
    if isinstance(error, GoogleAPICallError):
        return _answered(int(error.code or 0), _said(error.response), action, resource)
    if isinstance(error, InvalidResponse):
        return _answered(int(error.response.status_code), _said(error.response), action, resource)
    if isinstance(error, (RetryError, TransportError, RequestException, DataCorruption, ConnectionError)):
        return CallFault("transient", name, f"{action} on {resource} failed for now: {name}")
    if isinstance(error, GoogleAuthError):
        return CallFault("denied", name, f"{action} on {resource}: Google's credentials were not accepted ({error})")
    return None


def _said(response: Any) -> str:
    """Google's own sentence, which names the account that was refused."""
    try:
        return str(response.json()["error"]["message"])
    except (AttributeError, ValueError, KeyError, TypeError):
        return str(getattr(response, "text", "") or "")[:300]
    finally:
        # A refused download would keep its connection.
        if response is not None:
            response.close()


def _answered(status: int, said: str, action: str, resource: str) -> CallFault:
    code = str(status)
    if status == 412:
        return CallFault("taken", code, f"{resource} exists already")
    if status == 404 and "bucket does not exist" in said:
        return CallFault("denied", code, f"{action} on {resource}: there is no such bucket: check its name")
    if status == 404:
        return CallFault("missing", code, f"{resource} does not exist ({code})")
    if status in _TRANSIENT or status >= 500:
        return CallFault("transient", code, f"{action} on {resource} failed for now: {code}")
    if "cloudkms" in said.lower() or "cloud kms" in said.lower():
        return CallFault("kms", code, f"{action} on {resource} failed for its key ({code}): {said}")
    # Without storage.objects.list Google answers 403 for a missing object, and says that it may not exist.
    if status == 403 and action == "storage.objects.get" and "may not exist" in said:
        return CallFault("denied_or_missing", code, f"{action} on {resource} is denied, or it is missing: {said}")
    return CallFault("denied", code, f"{action} on {resource} was refused ({code}): {said}; allow it by a role")
