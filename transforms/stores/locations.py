"""Where something lies, as users write it: a path, `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `file:///PATH`."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

_FORM = re.compile(r"(s3|gs|file)://([^/]*)(.*)", re.DOTALL | re.IGNORECASE)


def split(location: str) -> SplitResult:
    """`urlsplit`, but what follows the bucket is a name as it stands: `?`, `#` and brackets are parts of it."""
    found = _FORM.fullmatch(location)
    return SplitResult(found[1].lower(), found[2], found[3], "", "") if found else urlsplit(location)
