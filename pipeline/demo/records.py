"""One CloudTrail record: its envelope, the ids in it, and the values that a call and an actor put into it.

Everything is invented: account ids as AWS's documentation uses them, addresses of the documentation ranges
(RFC 5737, RFC 3849), key and principal ids that end in EXAMPLE.
"""

from __future__ import annotations

import time
from base64 import b32encode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import msgspec

Json = dict[str, Any]
Kind = Literal["person", "pipeline", "workload", "service"]

_VERSIONS = ("1.11", "1.11", "1.10", "1.09", "1.08")
_TLS = (
    ("TLSv1.3", "TLS_AES_128_GCM_SHA256"),
    ("TLSv1.3", "TLS_AES_256_GCM_SHA384"),
    ("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256"),
)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who calls: `identity` is the encoded `userIdentity`; `address` may be a service's name."""

    kind: Kind
    account: str
    arn: str
    identity: msgspec.Raw
    address: str
    agent: str
    console: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """Where and when a call is made (`at`: seconds of the epoch), by whom, and the chance that shapes it."""

    rng: Random
    actor: Actor
    account: str
    region: str
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """An operation: `details` gives the fields of the record that depend on it, by CloudTrail's own names."""

    service: str
    name: str
    details: Callable[[Scene], Json]
    read_only: bool = True
    kinds: tuple[Kind, ...] = ("person", "pipeline", "workload")
    weight: int = 1
    everywhere: bool = True
    data_event: bool = False

    @property
    def source(self) -> str:
        """The `eventSource`."""
        return f"{self.service}.amazonaws.com"


def record(scene: Scene, call: Call, **fields: Any) -> Json:
    """The record of one call, in CloudTrail's order of fields; `fields` replace what the call would give."""
    rng, actor = scene.rng, scene.actor
    details = call.details(scene) | fields
    made: Json = {
        "eventVersion": _VERSIONS[int(rng.random() * 5)],
        "userIdentity": actor.identity,
        "eventTime": iso(scene.at),
        "eventSource": call.source,
        "eventName": call.name,
        "awsRegion": scene.region,
        "sourceIPAddress": actor.address,
        "userAgent": actor.agent,
    }
    if "errorCode" in details:
        made["errorCode"] = details["errorCode"]
        made["errorMessage"] = details["errorMessage"]
    made["requestParameters"] = details.get("requestParameters")
    made["responseElements"] = details.get("responseElements")
    if "additionalEventData" in details:
        made["additionalEventData"] = details["additionalEventData"]
    made["requestID"] = details.get("requestID") or uuid(rng)
    made["eventID"] = uuid(rng)
    made["readOnly"] = call.read_only
    if "resources" in details:
        made["resources"] = details["resources"]
    made["eventType"] = details.get("eventType", "AwsApiCall")
    made["managementEvent"] = not call.data_event
    made["recipientAccountId"] = scene.account
    if "sharedEventID" in details:
        made["sharedEventID"] = details["sharedEventID"]
    made["eventCategory"] = "Data" if call.data_event else "Management"
    if actor.kind != "service":
        made["tlsDetails"] = _tls(rng, call.service, scene.region)
    if actor.console:
        made["sessionCredentialFromConsole"] = "true"
    return made


def denied(scene: Scene, call: Call) -> Json:
    """The record of the same call, refused; EC2 words it in its own way."""
    if call.service == "ec2":
        code, text = "Client.UnauthorizedOperation", "You are not authorized to perform this operation."
    else:
        code = "AccessDenied"
        text = (
            f"User: {scene.actor.arn} is not authorized to perform: {call.service}:{call.name}"
            " because no identity-based policy allows the action"
        )
    return record(scene, call, errorCode=code, errorMessage=text, responseElements=None)


def throttled(scene: Scene, call: Call) -> Json:
    """The record of the same call, refused for its rate."""
    return record(scene, call, errorCode="ThrottlingException", errorMessage="Rate exceeded", responseElements=None)


def _tls(rng: Random, service: str, region: str) -> Json:
    version, suite = _TLS[int(rng.random() * 3)]
    return {
        "tlsVersion": version,
        "cipherSuite": suite,
        "clientProvidedHostHeader": f"{service}.{region}.amazonaws.com",
    }


def encoded(value: Any) -> msgspec.Raw:
    """JSON that is encoded once and used in many records."""
    return msgspec.Raw(msgspec.json.encode(value))


def iso(at: int) -> str:
    """An `eventTime`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def uuid(rng: Random) -> str:
    """A random UUID, version 4."""
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def base32(rng: Random, length: int) -> str:
    """Random capital letters and digits, as in key ids and request ids."""
    return b32encode(rng.randbytes(length * 5 // 8 + 1))[:length].decode()


def base64(rng: Random, size: int) -> str:
    """`size` random bytes in base64, as in extended request ids and session tokens."""
    return b64encode(rng.randbytes(size)).decode()


def hexadecimal(rng: Random, length: int) -> str:
    """Random digits, as in EC2's ids."""
    return f"{rng.getrandbits(4 * length):0{length}x}"


def key_id(rng: Random, prefix: Literal["AKIA", "ASIA"]) -> str:
    """An access key id: AKIA for a long-term key, ASIA for a session's."""
    return f"{prefix}{base32(rng, 9)}EXAMPLE"


def principal_id(rng: Random, prefix: Literal["AIDA", "AROA"]) -> str:
    """The unique id of a user (AIDA) or a role (AROA)."""
    return f"{prefix}{base32(rng, 10)}EXAMPLE"


@dataclass(frozen=True, slots=True)
class Planted:
    """A record that belongs at one place and time, encoded; the rest of the trail is drawn around such."""

    account: str
    region: str
    at: int
    body: bytes


def planted(scene: Scene, call: Call, **fields: Any) -> Planted:
    """The record of one call, to be put where it belongs."""
    return Planted(scene.account, scene.region, scene.at, msgspec.json.encode(record(scene, call, **fields)))
