"""How a call ended: status and class of failure, by error code; where there is none, by error message.

Sources: AWS API references, "Common Errors"; EC2 API reference, "Error codes" (`Client.` and `Server.` prefixes);
CloudTrail user guide, network activity events (`VpceAccessDenied`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

SUCCESS, FAILURE = "SUCCESS", "FAILURE"
DENIED, THROTTLED, INVALID, DRY_RUN, ERROR = "DENIED", "THROTTLED", "INVALID", "DRY_RUN", "ERROR"


class Outcome(NamedTuple):
    """Status, and why it failed."""

    operation_status: str | None
    error_class: str | None = None


_SUCCEEDED = Outcome(SUCCESS)
NO_OUTCOME = Outcome(None)
"""Of what does not say how it ended."""

_REFUSED = Outcome(FAILURE, DENIED)

# The first pattern found in the code decides.
_CLASSES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (error_class, re.compile(pattern, re.IGNORECASE))
    for error_class, pattern in (
        (DRY_RUN, r"DryRunOperation"),
        (
            DENIED,
            r"AccessDenied|Unauthori[sz]ed|NotAuthori[sz]ed|Forbidden|AuthFailure|AuthorizationError|OptInRequired"
            r"|ExpiredToken|TokenRefreshRequired|InvalidClientTokenId|UnrecognizedClient|SignatureDoesNotMatch"
            r"|InvalidAccessKeyId|InvalidToken|IncompleteSignature|MissingAuthenticationToken|InvalidIdentityToken"
            r"|AuthenticationFail|FailedAuthentication|IDPRejectedClaim|InvalidSignature|NotPermitted|^Blocked$",
        ),
        (
            THROTTLED,
            r"Throttl|TooManyRequests|RequestLimitExceeded|SlowDown|ThroughputExceeded|BandwidthLimitExceeded"
            r"|RequestThrottled|PriorRequestNotComplete",
        ),
        (
            INVALID,
            r"Invalid|Validation|Malformed|Missing|NotFound|NoSuch|NotExist|Already|Duplicate|Conflict|Unsupported"
            r"|NotSupported|BadRequest|Incorrect|Mismatch|OutOfRange|RequestExpired|LimitExceeded|QuotaExceeded"
            r"|PreconditionFailed|DeleteConflict|InUse|DependencyViolation|PolicyViolation|Unmodifiable",
        ),
    )
)
_DENIED_MESSAGE = re.compile(
    r"not authorized|access denied|unauthorized|failed authentication|explicit deny|not have permission"
    r"|permission denied",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def by_code(code: str) -> Outcome:
    """The outcome that a non-empty `errorCode` says; some services write the HTTP status there."""
    if code.isascii() and code.isdigit() and len(code) == 3:
        return _by_http_status(int(code))
    return Outcome(FAILURE, next((name for name, pattern in _CLASSES if pattern.search(code)), ERROR))


def _by_http_status(status: int) -> Outcome:
    if status < 400:
        return _SUCCEEDED
    classes = {401: DENIED, 403: DENIED, 429: THROTTLED, 503: THROTTLED}
    return Outcome(FAILURE, classes.get(status, INVALID if status < 500 else ERROR))


def by_message(message: str) -> Outcome:
    """The outcome that `errorMessage` says where there is no code; an empty one says none."""
    if not message:
        return NO_OUTCOME
    return Outcome(FAILURE, DENIED if _DENIED_MESSAGE.search(message) else ERROR)


def by_word(word: str | None) -> Outcome:
    """The outcome that a sign-in event says of itself where it says Failure; else none."""
    return _REFUSED if word and word.lower() == "failure" else NO_OUTCOME
