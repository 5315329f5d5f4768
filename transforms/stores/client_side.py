"""Objects that the Amazon S3 Encryption Client wrote, opened by AWS's own library (the extra `client-side`).

The data key of such an object is wrapped by a KMS key and stands in the object's metadata, so reading needs
kms:Decrypt on that key besides s3:GetObject.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from schemas.errors import ConfigError
from schemas.values import ObjectRef
from transforms.stores.aws import Access, ClientSide, building, client, own_client
from transforms.stores.aws_faults import calling
from transforms.stores.faults import CallFault

EXTRA = "pip install 'trailweave[client-side]'"

_INSTRUCTIONS = ".instruction"
# What KMS refuses because of the object, not because of the caller.
_OF_THE_OBJECT = {
    "IncorrectKeyException": "its data key was wrapped by another KMS key",
    "InvalidCiphertextException": "its data key, or the context that the key is bound to, was altered",
    "ParamValidationError": "its metadata hold no data key that KMS would take",
}
# What the library raises by itself when metadata are not what it wrote.
_NONSENSE = (ValueError, TypeError, KeyError, AttributeError)


class Sealed(Exception):
    """Why an object that was encrypted before it was stored stays closed: bad data, or nothing to open it with."""


def installed() -> bool:
    """Whether the library is there."""
    return find_spec("s3_encryption") is not None


def scheme(metadata: Mapping[str, str]) -> str | None:
    """The scheme of the Amazon S3 Encryption Client, by the metadata that its versions leave; else None.

    Source: Amazon S3 Encryption Client developer guide, "Object metadata".
    """
    told = {name.lower(): value for name, value in metadata.items()}
    if not {"x-amz-key", "x-amz-key-v2", "x-amz-3", "x-amz-c"} & told.keys():
        return None
    content = told.get("x-amz-cek-alg") or told.get("x-amz-c") or "AES/CBC/PKCS5Padding"
    key = told.get("x-amz-wrap-alg") or told.get("x-amz-w") or "unknown"
    return f"{content}, key wrapped by {key}"


@contextmanager
def opening(ref: ObjectRef, answer: Mapping[str, Any], access: Access) -> Iterator[Any]:
    """The body of S3's answer to GetObject, decrypted while it is read inside the block.

    Nothing that was read may be used before the body's end was reached: its last read authenticates all of it.

    Raises Sealed when the object cannot be opened, CallFault when a call fails; closes the answer's body in the end.
    """
    written = (
        "the object was encrypted before it was stored, by the Amazon S3 Encryption Client"
        f" ({scheme(answer['Metadata'])})"
    )
    how = access.client_side
    with closing(answer["Body"]):
        if how is None:
            raise Sealed(
                f'{written}; to read it, {EXTRA} and set client_side = {{kms_key = "arn:..."}} in its [[source]]'
            )
        with building(access):
            opener = _opener(access)
        from s3_encryption.exceptions import S3EncryptionClientError, S3EncryptionClientSecurityError

        try:
            yield _decrypting(opener, ref, answer, how, access)
        except S3EncryptionClientSecurityError as error:
            raise Sealed(f"{written}; it was altered since, or {how.kms_key} is not its key: {error}") from error
        except (S3EncryptionClientError, *_NONSENSE) as error:
            older = "" if how.accept == "legacy" else "; older formats need `accept` in client_side"
            raise Sealed(f"{written}; AWS's library does not open it: {error}{older}") from error
        except CallFault as fault:
            if fault.code not in _OF_THE_OBJECT:
                raise
            why = f"{_OF_THE_OBJECT[fault.code]} ({fault.code})"
            raise Sealed(f"{written}; {how.kms_key} does not open it: {why}") from fault


def _decrypting(opener: Any, ref: ObjectRef, answer: Mapping[str, Any], how: ClientSide, access: Access) -> Any:
    """The decrypting body; the library's own errors as they come, those of its calls as CallFault."""
    refused: Exception | None = None
    with calling("kms:Decrypt", how.kms_key, access):
        try:
            return opener.decrypt(
                answer,
                instruction_suffix=_INSTRUCTIONS,
                # Else the library holds three copies of an object in memory.
                enable_delayed_authentication=True,
                encryption_context=dict(how.context),
                bucket=ref.bucket,
                key=ref.key,
            )
        except _library_errors() as error:
            refused = error
    cause = refused.__cause__
    if cause is not None and not isinstance(cause, _NONSENSE):
        # The wrapped key may stand in an object of its own, which could not be fetched.
        with calling("s3:GetObject", f"s3://{ref.bucket}/{ref.key}{_INSTRUCTIONS}", access):
            raise cause
    raise refused


def _library_errors() -> tuple[type[Exception], ...]:
    """They are errors of botocore as well, which would pass for a broken connection."""
    from s3_encryption.exceptions import S3EncryptionClientError, S3EncryptionClientSecurityError

    return S3EncryptionClientError, S3EncryptionClientSecurityError


@lru_cache(maxsize=64)
def _opener(access: Access) -> Any:
    """AWS's way from an answer to its text, one per process and access.

    Its client would ask S3 again for an object that is here already, and leave the connection open when KMS refuses.
    """
    try:
        from s3_encryption import S3EncryptionClientConfig
        from s3_encryption.materials.kms_keyring import KmsKeyring
        from s3_encryption.materials.materials import CommitmentPolicy
        from s3_encryption.pipelines import GetEncryptedObjectPipeline
    except ModuleNotFoundError as error:
        raise ConfigError(f"client_side needs AWS's library, which is not installed: {EXTRA}") from error
    how = access.client_side
    assert how is not None
    legacy = how.accept == "legacy"
    region = how.kms_key.split(":")[3]
    keyring = KmsKeyring(
        client("kms", replace(access, region=region)), how.kms_key, enable_legacy_wrapping_algorithms=legacy
    )
    policy = CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT
    if how.accept == "committed":
        policy = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    config = S3EncryptionClientConfig(keyring, commitment_policy=policy)
    return GetEncryptedObjectPipeline(
        config.cmm, policy, s3_client=_fetching(access, config), enable_legacy_unauthenticated_modes=legacy
    )


def _fetching(access: Access, config: Any) -> Any:
    """The client that fetches instruction files: one of its own, since the library hooks into it."""
    from s3_encryption import S3EncryptionClient

    own = own_client("s3", access)

    def fail(parsed: dict[str, Any], **_: Any) -> None:
        """Before the library takes a refusal for an empty file."""
        if "Error" in parsed:
            raise own.exceptions.ClientError(parsed, "GetObject")

    own.meta.events.register_first("after-call.s3.GetObject", fail)
    return S3EncryptionClient(own, config).wrapped_s3_client
