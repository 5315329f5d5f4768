"""Objects that AWS's own S3 Encryption Client wrote, on the emulated AWS, and every way in which they stay closed."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from botocore.response import StreamingBody
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from s3_encryption import S3EncryptionClient, S3EncryptionClientConfig
from s3_encryption.materials.kms_keyring import KmsKeyring
from s3_encryption.materials.materials import AlgorithmSuite, CommitmentPolicy
from support.fault_proxy import KMS_KEY, PRINCIPAL, denied, kms_error, unreached
from support.trails import event_ids, records, trail_key, trail_object
from support.world import World, assert_one_to_one, world

from pipeline.commands import replay
from pipeline.config import load
from pipeline.demo.emulator import SERVICES, Emulator, emulator
from pipeline.onboarding.check import check
from schemas.values import ObjectRef
from transforms.fetch_objects import FetchLimits, reads_again
from transforms.list_objects import Selection
from transforms.stores import objects
from transforms.stores.aws import Access, ClientSide, client, own_client
from transforms.stores.faults import CallFault
from transforms.stores.objects import read_object, touch_object
from transforms.stores.settings import Settings

KEYS = [trail_key(f"o{n}") for n in range(4)]
BODIES = {key: trail_object(records(range(n * 10, n * 10 + 10))) for n, key in enumerate(KEYS)}
IDS = [it for body in BODIES.values() for it in event_ids(body)]
ONE = KEYS[0]
SEALED = "the object was encrypted before it was stored, by the Amazon S3 Encryption Client"
OLDER = AlgorithmSuite.ALG_AES_256_GCM_IV12_TAG16_NO_KDF

pytestmark = pytest.mark.usefixtures("impatient")


@dataclass
class Sealing:
    """A world whose objects are encrypted before they are stored, and the key that wraps theirs."""

    world: World
    kms_key: str
    stack: ExitStack

    def writer(self, *, older: bool = False) -> Any:
        access = Access(endpoint_url=self.world.emulator.endpoint_url)
        own = own_client("s3", access)
        self.stack.callback(own.close)
        keyring = KmsKeyring(client("kms", access), self.kms_key)
        policy = CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT
        config = S3EncryptionClientConfig(keyring, OLDER, policy) if older else S3EncryptionClientConfig(keyring)
        return S3EncryptionClient(own, config)

    def put(self, key: str, body: bytes, *, older: bool = False, **more: Any) -> None:
        self.writer(older=older).put_object(Bucket=self.world.bucket, Key=key, Body=body, **more)

    def access(self, **members: Any) -> Access:
        return replace(self.world.access, client_side=ClientSide(**{"kms_key": self.kms_key, **members}))

    def ingest(self, **members: Any) -> None:
        self.world.ingest(access=self.access(**members))

    def letter(self) -> str:
        (letter,) = self.world.letters()
        return str(letter["reason"])

    def alter(self, key: str, change: Callable[[bytes, dict[str, str]], tuple[bytes, dict[str, str]]]) -> None:
        """Store the object again with other bytes or metadata, as somebody without the KMS key could."""
        found = self.world.s3.get_object(Bucket=self.world.bucket, Key=key)
        body, metadata = change(found["Body"].read(), dict(found["Metadata"]))
        self.world.s3.put_object(Bucket=self.world.bucket, Key=key, Body=body, Metadata=metadata)


@pytest.fixture(scope="module")
def with_kms() -> Iterator[Emulator]:
    with emulator(services=f"{SERVICES},kms") as started:
        yield started


@pytest.fixture
def sealing(with_kms: Emulator, tmp_path: Path) -> Iterator[Sealing]:
    with ExitStack() as stack:
        made = stack.enter_context(world(with_kms, tmp_path, proxied=True))
        yield Sealing(made, _new_key(with_kms), stack)


def _new_key(emulated: Emulator) -> str:
    kms = client("kms", Access(endpoint_url=emulated.endpoint_url))
    return str(kms.create_key()["KeyMetadata"]["Arn"])


def test_objects_of_the_encryption_client_become_rows_beside_plain_ones(sealing: Sealing) -> None:
    for key in KEYS[:3]:
        sealing.put(key, BODIES[key])
    sealing.world.put(KEYS[3], BODIES[KEYS[3]])
    sealing.ingest()
    assert_one_to_one(sealing.world.output, IDS)
    assert sealing.world.letters() == []
    assert sealing.world.waiting() == (0, 0)


def test_without_the_option_the_dead_letter_says_what_to_set(sealing: Sealing) -> None:
    sealing.put(ONE, BODIES[ONE])
    sealing.world.ingest()
    reason = sealing.letter()
    assert reason.startswith(f"{SEALED} (115, key wrapped by 12)")
    assert "pip install 'trailweave[client-side]'" in reason
    assert "client_side = {kms_key =" in reason


def test_a_dead_letter_is_read_by_a_replay_that_has_the_key(
    sealing: Sealing, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealing.put(ONE, BODIES[ONE])
    sealing.world.ingest()
    trail = {
        "name": "trail",
        "location": f"s3://{sealing.world.bucket}/",
        "client_side": {"kms_key": sealing.kms_key},
    }
    config = load(
        {"output": str(sealing.world.output), "source": ({**trail, "endpoint_url": sealing.world.endpoint_url},)}
    )
    replay(config, [], Selection(), workers=1, force=False, dead_letters=True, beam_flags=[], quiet=True)
    assert_one_to_one(sealing.world.output, event_ids(BODIES[ONE]))


def test_an_alias_of_the_key_opens_as_well(sealing: Sealing, with_kms: Emulator) -> None:
    kms = client("kms", Access(endpoint_url=with_kms.endpoint_url))
    kms.create_alias(AliasName="alias/trail", TargetKeyId=sealing.kms_key)
    sealing.put(ONE, BODIES[ONE])
    sealing.ingest(kms_key=f"{sealing.kms_key.rsplit(':', 1)[0]}:alias/trail")
    assert_one_to_one(sealing.world.output, event_ids(BODIES[ONE]))


def test_the_context_that_an_object_was_written_in_must_be_told(sealing: Sealing) -> None:
    sealing.put(ONE, BODIES[ONE], EncryptionContext={"team": "audit"})
    assert "encryption context does not match" in str(read_object(_ref(sealing), sealing.access()).sealed)
    content = read_object(_ref(sealing), sealing.access(context=(("team", "audit"),)))
    assert content.sealed is None
    assert content.body == BODIES[ONE]


def test_an_object_without_key_commitment_needs_a_word_of_the_user(sealing: Sealing) -> None:
    sealing.put(ONE, BODIES[ONE], older=True)
    refused = str(read_object(_ref(sealing), sealing.access()).sealed)
    assert refused.startswith(f"{SEALED} (AES/GCM/NoPadding, key wrapped by kms+context)")
    assert "non-key-committing" in refused
    assert "`accept`" in refused
    sealing.ingest(accept="authenticated")
    assert_one_to_one(sealing.world.output, event_ids(BODIES[ONE]))


def put_of_the_first_clients(sealing: Sealing, key: str, body: bytes, version: int) -> None:
    """As clients of versions 1 and 2 wrote with a KMS key: AES-CBC, the data key wrapped without a real context."""
    w = sealing.world
    kms = client("kms", Access(endpoint_url=w.emulator.endpoint_url))
    context = {"kms_cmk_id": sealing.kms_key}
    made = kms.generate_data_key(KeyId=sealing.kms_key, KeySpec="AES_256", EncryptionContext=context)
    iv = bytes(range(16))
    padder = PKCS7(128).padder()
    cipher = Cipher(algorithms.AES(made["Plaintext"]), modes.CBC(iv)).encryptor()
    text = cipher.update(padder.update(body) + padder.finalize()) + cipher.finalize()
    name = "x-amz-key" if version == 1 else "x-amz-key-v2"
    told = {name: b64encode(made["CiphertextBlob"]).decode(), "x-amz-iv": b64encode(iv).decode()}
    told |= {"x-amz-matdesc": json.dumps(context), "x-amz-wrap-alg": "kms"}
    told |= {"x-amz-cek-alg": "AES/CBC/PKCS5Padding"} if version == 2 else {}
    w.s3.put_object(Bucket=w.bucket, Key=key, Body=text, Metadata=told)


@pytest.mark.parametrize("version", [1, 2])
def test_what_the_first_clients_wrote_is_read_as_legacy_alone(sealing: Sealing, version: int) -> None:
    put_of_the_first_clients(sealing, ONE, BODIES[ONE], version)
    for accept in ("committed", "authenticated"):
        refused = str(read_object(_ref(sealing), sealing.access(accept=accept)).sealed)
        assert refused.startswith(f"{SEALED} (AES/CBC/PKCS5Padding, key wrapped by kms)")
        assert "`accept`" in refused
    assert read_object(_ref(sealing), sealing.access(accept="legacy")).body == BODIES[ONE]


def test_the_version_that_was_announced_is_the_one_that_is_opened(sealing: Sealing) -> None:
    w = sealing.world
    w.s3.put_bucket_versioning(Bucket=w.bucket, VersioningConfiguration={"Status": "Enabled"})
    sealing.put(ONE, BODIES[ONE])
    first = w.s3.head_object(Bucket=w.bucket, Key=ONE)["VersionId"]
    sealing.put(ONE, BODIES[KEYS[1]])
    assert read_object(ObjectRef(w.bucket, ONE, first), sealing.access()).body == BODIES[ONE]
    assert read_object(_ref(sealing), sealing.access()).body == BODIES[KEYS[1]]


def test_a_large_object_is_decrypted_onto_disk_and_authenticated_before_it_is_used(
    sealing: Sealing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_IN_MEMORY", 100)
    monkeypatch.setattr(objects, "_CHUNK", 50)
    sealing.put(ONE, BODIES[ONE])
    body = read_object(_ref(sealing), sealing.access()).body
    assert not isinstance(body, bytes)
    with body:
        assert body.read() == BODIES[ONE]
    sealing.alter(ONE, lambda stored, metadata: (stored[:-1] + bytes([stored[-1] ^ 1]), metadata))
    content = read_object(_ref(sealing), sealing.access())
    assert content.body == b""
    assert "altered since" in str(content.sealed)


ALTERED: dict[str, Callable[[bytes, dict[str, str]], tuple[bytes, dict[str, str]]]] = {
    "a bit of the content": lambda body, told: (bytes([body[0] ^ 1]) + body[1:], told),
    "the end is missing": lambda body, told: (body[:-20], told),
    "all is missing": lambda body, told: (b"", told),
    "the commitment": lambda body, told: (body, {**told, "x-amz-d": told["x-amz-i"]}),
    "the wrapped key": lambda body, told: (body, {**told, "x-amz-3": "AAAA"}),
    "no wrapped key": lambda body, told: (body, {**told, "x-amz-3": ""}),
    "a key that is no base64": lambda body, told: (body, {**told, "x-amz-3": "?"}),
    "another algorithm": lambda body, told: (body, {**told, "x-amz-c": "999"}),
    "another wrapping": lambda body, told: (body, {**told, "x-amz-w": "02"}),
    "an unknown wrapping": lambda body, told: (body, {**told, "x-amz-w": "99"}),
    "a context that is no JSON": lambda body, told: (body, {**told, "x-amz-t": "{"}),
    "a context that is a list": lambda body, told: (body, {**told, "x-amz-t": "[1]"}),
    "a context of numbers": lambda body, told: (body, {**told, "x-amz-t": '{"kms_cmk_id": 1}'}),
    "keys of two formats": lambda body, told: (body, {**told, "x-amz-key-v2": "AAAA"}),
}


@pytest.mark.parametrize("what", ALTERED)
def test_an_altered_object_is_a_dead_letter_and_holds_up_no_other(sealing: Sealing, what: str) -> None:
    sealing.put(ONE, BODIES[ONE])
    sealing.alter(ONE, ALTERED[what])
    sealing.put(KEYS[1], BODIES[KEYS[1]])
    sealing.ingest()
    (reason,) = {str(it["reason"]) for it in sealing.world.letters() if it["object_key"] == ONE} or {"none"}
    assert reason.startswith(SEALED)
    assert set(event_ids(BODIES[KEYS[1]])) <= set(sealing.world.ids())
    assert sealing.world.waiting() == (0, 0)


def test_another_key_is_told(sealing: Sealing, with_kms: Emulator) -> None:
    other = _new_key(with_kms)
    sealing.put(ONE, BODIES[ONE])
    assert f"{other} is not its key" in str(read_object(_ref(sealing), sealing.access(kms_key=other)).sealed)
    # What AWS itself answers; the emulator decrypts to nonsense, which the commitment gives away.
    text = "The key ID in the request does not identify a CMK that can perform this operation."
    _proxy(sealing).when("Decrypt").do(kms_error(400, "IncorrectKeyException", text))
    told = str(read_object(_ref(sealing), sealing.access()).sealed)
    assert f"{sealing.kms_key} does not open it: its data key was wrapped by another KMS key" in told


DENIED = (
    f"User: {PRINCIPAL} is not authorized to perform: kms:Decrypt on resource: {KMS_KEY}"
    " because no identity-based policy allows the kms:Decrypt action"
)
REFUSALS = {
    "denied": kms_error(400, "AccessDeniedException", DENIED),
    "denied across accounts": kms_error(
        400,
        "AccessDeniedException",
        "The ciphertext refers to a customer master key that does not exist, does not exist in this region,"
        " or you are not allowed to access.",
    ),
    "disabled": kms_error(400, "DisabledException", f"{KMS_KEY} is disabled."),
    "to be deleted": kms_error(400, "KMSInvalidStateException", f"{KMS_KEY} is pending deletion."),
    "not there": kms_error(400, "NotFoundException", f"Key '{KMS_KEY}' does not exist"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refused_key_leaves_the_message_in_the_queue(
    sealing: Sealing, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    sealing.put(ONE, BODIES[ONE])
    rule = _proxy(sealing).when("Decrypt").do(REFUSALS[refusal])
    sealing.world.one_run(1, access=sealing.access())
    assert sealing.world.letters() == []
    assert sum(sealing.world.waiting()) == 1
    assert f"kms:Decrypt on {sealing.kms_key} failed" in caplog.text
    assert "arn:aws:iam::111122223333:root" in caplog.text
    # The circuit breaker asks for the key as well, not for the object alone.
    source = sealing.world.source(access=sealing.access())
    assert not reads_again(source)
    rule.stop()
    assert reads_again(source)


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ("Decrypt", kms_error(400, "ThrottlingException", "Rate exceeded")),
        ("Decrypt", kms_error(500, "KMSInternalException", "")),
        ("Decrypt", unreached()),
    ],
)
def test_a_passing_fault_is_tried_again(sealing: Sealing, operation: str, fault: Any) -> None:
    sealing.put(ONE, BODIES[ONE])
    rule = _proxy(sealing).when(operation).do(fault)
    with pytest.raises(CallFault) as told:
        read_object(_ref(sealing), sealing.access())
    assert told.value.kind == "transient"
    rule.stop()
    _proxy(sealing).when(operation).do(fault).times(2)
    assert read_object(_ref(sealing), sealing.access()).body == BODIES[ONE]


def test_a_key_kept_in_an_instruction_file_is_found_there(sealing: Sealing) -> None:
    """Format 3 keeps the wrapped key beside the object, and the rest in its metadata."""
    w = sealing.world
    sealing.put(ONE, BODIES[ONE])
    found = w.s3.get_object(Bucket=w.bucket, Key=ONE)
    apart = ("x-amz-3", "x-amz-w", "x-amz-t")
    kept = {name: value for name, value in found["Metadata"].items() if name not in apart}
    beside = {name: value for name, value in found["Metadata"].items() if name in apart}
    w.s3.put_object(Bucket=w.bucket, Key=ONE, Body=found["Body"].read(), Metadata=kept)
    with pytest.raises(CallFault, match="instruction does not exist") as told:
        read_object(_ref(sealing), sealing.access())
    assert told.value.kind == "missing"
    _proxy(sealing).when("GetObject", key="*.instruction").do(denied()).times(1)
    with pytest.raises(CallFault, match="instruction was refused") as told:
        read_object(_ref(sealing), sealing.access())
    assert told.value.kind == "denied"
    w.s3.put_object(
        Bucket=w.bucket,
        Key=f"{ONE}.instruction",
        Body=json.dumps(beside).encode(),
        Metadata={"x-amz-crypto-instr-file": ""},
    )
    sealing.ingest()
    assert (f"{ONE}.instruction", "ignored") in w.outcomes()
    assert w.waiting() == (0, 0)
    assert sorted(event_ids(BODIES[ONE])) == w.ids()


def test_a_touched_object_is_not_read(sealing: Sealing, monkeypatch: pytest.MonkeyPatch) -> None:
    sealing.put(ONE, BODIES[ONE])

    reads: list[object] = []
    read = StreamingBody.read
    monkeypatch.setattr(StreamingBody, "read", lambda *given, **named: reads.append(given) or read(*given, **named))
    touch_object(_ref(sealing), sealing.access())
    touch_object(_ref(sealing), sealing.world.access)
    assert reads == []
    assert read_object(_ref(sealing), sealing.access()).body == BODIES[ONE]
    assert reads


def test_the_test_button_opens_the_object(sealing: Sealing) -> None:
    sealing.put(ONE, BODIES[ONE])

    def steps(access: Access = sealing.access()) -> dict[str, Any]:  # noqa: B008
        source = sealing.world.source(access=access)
        return {step.name: step for step in check([source], None, Settings(), FetchLimits(), 2)}

    assert steps()["records"].verdict == "ok"
    told = steps(sealing.world.access)["object"]
    assert (told.verdict, "client_side = " in told.got) == ("misconfigured", True)
    _proxy(sealing).when("Decrypt").do(REFUSALS["denied across accounts"])
    step = steps()["object"]
    assert step.verdict == "denied"
    assert step.statement == {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": sealing.kms_key}


def _ref(sealing: Sealing) -> ObjectRef:
    return ObjectRef(sealing.world.bucket, ONE)


def _proxy(sealing: Sealing) -> Any:
    assert sealing.world.proxy
    return sealing.world.proxy
