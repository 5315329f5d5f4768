"""`trailweave check`, the Test button: every call of the path, dry, with what was denied to whom and what to add.

Up to three messages are received and given back at once, so nothing is lost; their receive counts grow by one. The
output is proven by the probe that every writing command begins with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import TypeVar

from pipeline.onboarding.faults import Step, Verdict, faulty, no_queue, refused_role
from pipeline.terminal.words import counted
from schemas.datasets import EVENTS
from schemas.errors import TrailweaveError
from schemas.values import Delivery, Message, ObjectPart, ObjectRef, Slice
from transforms.decoding.documents import open_documents
from transforms.explode_records import Exploder
from transforms.fetch_objects import FetchLimits
from transforms.parse_notifications import parse_notification
from transforms.providers import PROVIDERS_BY_NAME
from transforms.stores import queue
from transforms.stores.aws import client, partition
from transforms.stores.aws_faults import calling
from transforms.stores.faults import CallFault
from transforms.stores.files import Output, open_store, prove
from transforms.stores.objects import read_object
from transforms.stores.settings import Settings, read_settings
from transforms.stores.sources import Source

EXIT_CODES: dict[Verdict, int] = {"misconfigured": 1, "denied": 3, "unreachable": 5}
"""By the gravest step; 0 when all is fine. 2 is a wrong option, as everywhere."""

_GRAVEST: tuple[Verdict, ...] = ("unreachable", "denied", "misconfigured")
_VISIBILITY_S = 30
_FEW = 3
_LEAST_VISIBILITY_S = 120
_LEAST_RETENTION_S = 7 * 86_400
_MOST_SKEW_S = 300.0
_ANNOUNCERS = ("s3.amazonaws.com", "sns.amazonaws.com", "events.amazonaws.com", "cloudtrail.amazonaws.com")

_WAIT = (
    "wait for CloudTrail's next file (5 to 15 minutes); if none ever comes, check that the bucket has a notification"
    " to this queue and that its prefix filter lets AWSLogs/ through"
)
# There are none, or AWS does not know them.
_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "TokenRetrievalError",
    "SSOTokenLoadError",
    "UnauthorizedSSOTokenError",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "ExpiredTokenException",
}
_GIVE_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `profile` or `credentials_file` of the source (`aws sso"
    " login` renews a profile of IAM Identity Center), or run where a role gives credentials"
)

T = TypeVar("T")


def exit_code(steps: Sequence[Step]) -> int:
    """0 when every step is fine; else that of the gravest."""
    found = {step.verdict for step in steps}
    return next((EXIT_CODES[verdict] for verdict in _GRAVEST if verdict in found), 0)


def check(
    sources: Sequence[Source], output: Output | None, settings: Settings, limits: FetchLimits, wait_s: int = 20
) -> Iterator[Step]:
    """The steps of each source, then of the output, as they are done. `wait_s` is how long to wait for a message."""
    for source in sources:
        yield from _Walk(source, limits, wait_s).steps()
    if output is not None:
        yield from _check_output(output, settings)


class _Walk:
    """One source's path, step by step; what a later step needs is kept."""

    def __init__(self, source: Source, limits: FetchLimits, wait_s: int) -> None:
        self._source, self._limits, self._wait_s = source, limits, wait_s
        self._url = str(source.queue_url)
        self._queue = queue.queue_name(self._url)

    def steps(self) -> Iterator[Step]:
        """Identity, queue, message, object, records."""
        hindrance = (yield from self._identity()) or (yield from self._queue_itself())
        if hindrance:
            yield self._step("message", "skipped", "receive a message and get its object", hindrance)
            return
        received = yield from self._receive()
        yield from self._delete()
        if received is None:
            yield self._step("message", "skipped", "parse a message", "there is none to parse")
            return
        message = parse_notification(received, self._source)
        yield self._message(received, message)
        if not message.objects:
            yield self._step("object", "skipped", "s3:GetObject", "the message announces no log file")
            return
        yield from self._object(message.objects[0])

    def _step(self, name: str, verdict: Verdict, tried: str, got: str, remedy: str | None = None) -> Step:
        return Step(self._source.name, name, verdict, tried, got, remedy)

    def _identity(self) -> Generator[Step, None, str | None]:
        """Who calls; what makes every other call vain, if something does."""
        access, tried = self._source.access, "sts:GetCallerIdentity"
        try:
            with calling(tried, "STS", access):
                answer = client("sts", access).get_caller_identity()
        except CallFault as fault:
            if fault.code in _CREDENTIALS:
                yield self._step("identity", "misconfigured", tried, str(fault), _GIVE_CREDENTIALS)
                return "nothing can be called without credentials"
            yield self._faulty("identity", tried, fault)
            return "nothing can be called without the role" if refused_role(fault) else None
        except TrailweaveError as error:
            yield self._step("identity", "misconfigured", tried, str(error))
            return "nothing can be called without credentials"
        yield self._step("identity", "ok", tried, f"calls are made as {answer['Arn']}")
        date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        if date:
            skew = time.time() - parsedate_to_datetime(date).timestamp()
            if abs(skew) > _MOST_SKEW_S:
                yield self._step(
                    "clock",
                    "misconfigured",
                    "compare this machine's clock with AWS's",
                    f"they differ by {skew:+.0f} s",
                    "set the clock by NTP: AWS refuses signatures that are more than five minutes off",
                )
        return None

    def _queue_itself(self) -> Generator[Step, None, str | None]:
        """The queue and its settings; why nothing can be received, if nothing can."""
        tried = f"sqs:GetQueueAttributes on {self._queue}"
        if self._url.endswith(".fifo"):
            yield self._step(
                "queue kind",
                "misconfigured",
                "read the queue's name",
                f"{self._queue} is a FIFO queue",
                "S3 announces objects in standard queues alone; make one and point the notification at it",
            )
        try:
            found = queue.attributes(self._source)
        except CallFault as fault:
            if fault.kind == "denied" and not no_queue(fault):
                yield self._step("queue", "ok", tried, "not allowed, and not needed: its settings are not looked at")
                return None
            yield self._faulty("queue", tried, fault)
            return "there is no such queue" if no_queue(fault) else "the queue cannot be reached"
        yield self._step("queue", "ok", tried, _described(found))
        yield from self._settings(found)
        return None

    def _settings(self, found: Mapping[str, str]) -> Iterator[Step]:
        tried = "look at the queue's settings"
        visibility = int(found.get("VisibilityTimeout", _LEAST_VISIBILITY_S))
        if visibility < _LEAST_VISIBILITY_S:
            got = f"the visibility timeout is {visibility} s"
            remedy = f"set it to {_LEAST_VISIBILITY_S} s or more, or messages come again while they are worked on"
            yield self._step("visibility timeout", "misconfigured", tried, got, remedy)
        if "RedrivePolicy" not in found:
            remedy = "add a dead-letter queue with maxReceiveCount 10, or a message that never works comes for ever"
            yield self._step("dead-letter queue", "misconfigured", tried, "the queue has none", remedy)
        retention = int(found.get("MessageRetentionPeriod", _LEAST_RETENTION_S))
        if retention < _LEAST_RETENTION_S:
            got = f"messages are kept for {retention / 86_400:.3g} days"
            remedy = "keep them for 7 days or more, to survive a long weekend without losing a log"
            yield self._step("retention", "misconfigured", tried, got, remedy)
        policy = found.get("Policy", "")
        if not any(announcer in policy for announcer in _ANNOUNCERS) and '"AWS"' not in policy:
            remedy = "let s3.amazonaws.com SendMessage from the trail's bucket, and set the bucket's notification"
            got = "no policy lets S3, SNS or EventBridge send to the queue"
            yield self._step("notification", "misconfigured", tried, got, remedy)

    def _receive(self) -> Generator[Step, None, Delivery | None]:
        tried = f"sqs:ReceiveMessage on {self._queue}, for at most {self._wait_s} s"

        def ask() -> list[Delivery]:
            """A few, so that S3's test event does not hide a log behind it."""
            return queue.receive(self._source, wait_s=self._wait_s, visibility_s=_VISIBILITY_S, maximum=_FEW)

        found = yield from self._try("receive", tried, self._queue_arn(), ask)
        if found is None:
            return None
        if not found:
            got = "the queue can be read and holds no visible message"
            yield self._step("receive", "note", tried, got, _WAIT)
            return None
        receipts = [it.receipt for it in found if it.receipt is not None]
        times = max(it.receive_count for it in receipts)
        yield self._step(
            "receive",
            "ok",
            tried,
            f"{counted(len(found), 'message')}, by now received {counted(times, 'time')} at most",
        )
        tried = f"sqs:ChangeMessageVisibility on {self._queue}, to 0"

        def give_back() -> bool:
            return bool(queue.extend(receipts, self._source.access, 0))

        if (yield from self._try("give back", tried, self._queue_arn(), give_back)):
            yield self._step("give back", "ok", tried, "the messages are in the queue again")
        parsed = ((it, parse_notification(it, self._source)) for it in found)
        return next((it for it, message in parsed if message.objects), found[0])

    def _delete(self) -> Iterator[Step]:
        tried = f"sqs:DeleteMessage on {self._queue}, with a receipt that is none"

        def ask() -> bool:
            queue.try_delete(self._source)
            return True

        if (yield from self._try("delete", tried, self._queue_arn(), ask)):
            yield self._step("delete", "ok", tried, "allowed; nothing was deleted")

    def _message(self, received: Delivery, message: Message) -> Step:
        tried = "parse the message"
        wrapped = '"TopicArn"' in received.body and '"Message"' in received.body
        how = " inside an SNS envelope (raw message delivery would spare it)" if wrapped else ""
        if message.dead_letters:
            reason = message.dead_letters[0].reason
            remedy = "send only notifications of the trail's bucket to this queue; such a message is a dead letter"
            return self._step("message", "misconfigured", tried, f"it is no notification: {reason}", remedy)
        if message.objects:
            more = len(message.objects) - 1
            rest = f" and {more} more" if more else ""
            first = message.objects[0]
            return self._step("message", "ok", tried, f"it announces s3://{first.bucket}/{first.key}{rest}{how}")
        reasons = "; ".join(dict.fromkeys(reason for _, _, reason in message.settled))
        if "allow-list" in reasons or "bucket" in reasons:
            remedy = "add the bucket to `buckets` of the source, or do not announce it in this queue"
            return self._step("message", "misconfigured", tried, reasons, remedy)
        return self._step("message", "note", tried, f"it announces no log file: {reasons}{how}", _WAIT)

    def _object(self, ref: ObjectRef) -> Iterator[Step]:
        where, arn = f"s3://{ref.bucket}/{ref.key}", f"arn:{partition(self._source.access)}:s3:::{ref.bucket}/*"
        tried = f"s3:GetObject of {where}"
        content = yield from self._try("object", tried, arn, lambda: read_object(ref, self._source.access))
        if content is None:
            return
        if content.sealed:
            yield self._step("object", "misconfigured", tried, content.sealed)
            return
        yield self._step("object", "ok", tried, f"{content.size:,} bytes, decrypted")
        tried = f"read the records of {where}"
        opened = next(open_documents(content, self._limits.slice_bytes, self._limits.caps))
        part = ObjectPart(self._source.name, content.ref, None, last=opened.last)
        filled = Slice(objects=(part,), documents=[opened.document])
        *_, exploded = Exploder(self._limits.caps.record_bytes).explode(filled)
        if exploded.records is None or exploded.provider is None:
            reason = exploded.dead_letters[0].reason if exploded.dead_letters else "it holds no record"
            remedy = "see whether the object is a log of CloudTrail; what cannot be read becomes a dead letter"
            yield self._step("records", "misconfigured", tried, reason, remedy)
            return
        count = len(exploded.records)
        yield self._step("records", "ok", tried, f"{counted(count, 'record')} of {exploded.provider}")
        events = PROVIDERS_BY_NAME[exploded.provider].normalize(exploded.records)
        rows = f"{counted(len(events), 'row')} of {EVENTS.name}"
        yield self._step("normalize", "ok", f"normalize {counted(count, 'record')}", rows)

    def _queue_arn(self) -> str:
        account, name = self._url.rstrip("/").split("/")[-2:]
        return f"arn:{partition(self._source.access)}:sqs:*:{account}:{name}"

    def _try(self, name: str, tried: str, resource: str, ask: Callable[[], T]) -> Generator[Step, None, T | None]:
        """What a call gives; None once its fault is told."""
        try:
            return ask()
        except CallFault as fault:
            yield self._faulty(name, tried, fault, resource)
        except TrailweaveError as error:
            yield self._step(name, "denied" if error.exit_code == 3 else "misconfigured", tried, str(error))
        return None

    def _faulty(self, name: str, tried: str, fault: CallFault, resource: str = "*") -> Step:
        return faulty(self._source.name, name, tried, fault, resource, self._source.access)


def _described(found: Mapping[str, str]) -> str:
    waiting = int(found.get("ApproximateNumberOfMessages", 0))
    hidden = int(found.get("ApproximateNumberOfMessagesNotVisible", 0))
    redrive = json.loads(found.get("RedrivePolicy", "{}"))
    dead = f", dead-letter queue after {redrive['maxReceiveCount']} receives" if "maxReceiveCount" in redrive else ""
    visibility = found.get("VisibilityTimeout", "?")
    return f"{waiting:,} messages wait, {hidden:,} are in somebody's hand; visibility timeout {visibility} s{dead}"


def _check_output(output: Output, settings: Settings) -> Iterator[Step]:
    tried = f"create {output.uri} a probe twice; the second must be refused"
    resource = f"{output.uri.replace('s3://', f'arn:{partition(output.access)}:s3:::').rstrip('/')}/*"
    try:
        store = open_store(output)
        prove(store)
        yield Step("output", "output", "ok", tried, f"{output.uri} honours create-if-absent")
        found = read_settings(store)
        if found is not None and found != settings:
            got = f"it was begun with {found}, and these options ask for {settings}"
            remedy = "use the same options, or replay its raw records into another output root"
            yield Step("output", "settings", "misconfigured", "read the settings of the output root", got, remedy)
    except CallFault as fault:
        yield faulty("output", "output", f"s3:PutObject: {tried}", fault, resource, output.access)
    except TrailweaveError as error:
        cause = error.__cause__
        if isinstance(cause, CallFault):
            yield faulty("output", "output", f"s3:PutObject: {tried}", cause, resource, output.access)
        else:
            yield Step("output", "output", "misconfigured", tried, str(error))
    except OSError as error:
        remedy = "let this user write there"
        yield Step("output", "output", "denied", tried, f"{output.uri}: {error.strerror or error}", remedy)
