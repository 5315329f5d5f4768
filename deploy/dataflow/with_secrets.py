"""Writes secrets of Google's Secret Manager into files, then becomes the program that its arguments name.

`TRAILWEAVE_SECRETS` names them, separated by spaces: FILE=projects/PROJECT/secrets/NAME/versions/VERSION. Dataflow
gives a worker no mounted secrets and no environment of its own; so they are fetched by its service account, and stand
in no image and no job.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from urllib.request import Request, urlopen


def fetch(url: str, **headers: str) -> dict[str, object]:
    """The JSON that an address answers."""
    with urlopen(Request(url, headers=headers), timeout=10) as answer:  # noqa: S310
        return dict(json.loads(answer.read()))


def secret(resource: str) -> bytes:
    """The content of a secret's version."""
    host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
    token = fetch(url, **{"Metadata-Flavor": "Google"})["access_token"]
    manager = os.environ.get("SECRET_MANAGER_URL", "https://secretmanager.googleapis.com")
    found = fetch(f"{manager}/v1/{resource}:access", Authorization=f"Bearer {token}")
    return base64.b64decode(dict(found["payload"])["data"])  # type: ignore[call-overload]


def write(named: str) -> None:
    """Each secret into its file, readable by its owner alone."""
    for each in named.split():
        file, _, resource = each.partition("=")
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(secret(resource))


if __name__ == "__main__":
    write(os.environ.get("TRAILWEAVE_SECRETS", ""))
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606
