from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text
from support.fault_proxy import denied
from support.trails import record, s3_event, trail_key, trail_object
from support.world import World

from pipeline import cli
from pipeline.terminal import logs
from schemas.errors import AccessError, ConfigError
from transforms.receive_messages import STOP, Limits

QUICK = Limits(messages=10, wait_s=0.2, idle_s=0.2)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., io.StringIO]]:
    """Set the logs up to go into a stream."""
    root = logging.getLogger()
    former = root.handlers[:], root.level
    monkeypatch.delenv(logs.FORMAT_VARIABLE, raising=False)

    def begin(stream: io.StringIO, form: str | None = None) -> io.StringIO:
        if form:
            monkeypatch.setenv(logs.FORMAT_VARIABLE, form)
        monkeypatch.setattr("sys.stderr", stream)
        logs.set_up(debug=False)
        return stream

    yield begin
    root.handlers[:], root.level = former


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(it) for it in stream.getvalue().splitlines()]


def say() -> None:
    logging.getLogger("pipeline.x").error(
        "run_failed: %s", "a\x1b[2Jb\nc", extra={"source": "trail", "error_type": "X", "payload": "secret"}
    )


def test_off_a_terminal_logs_are_json_lines_with_the_fields_that_were_given(
    logged: Callable[..., io.StringIO],
) -> None:
    stream = logged(io.StringIO())

    say()

    (line,) = lines(stream)
    assert (line["level"], line["event"], line["logger"]) == ("error", "run_failed", "pipeline.x")
    assert (line["source"], line["error_type"], line["text"]) == ("trail", "X", "a\x1b[2Jb\nc")
    assert "payload" not in line


def test_a_text_that_names_no_event_is_told_whole(logged: Callable[..., io.StringIO]) -> None:
    stream = logged(io.StringIO())

    logging.getLogger("pipeline.x").error("no event here, but: a colon")

    (line,) = lines(stream)
    assert (line["event"], line["text"]) == ("log", "no event here, but: a colon")


def test_a_traceback_is_one_member_of_the_line(logged: Callable[..., io.StringIO]) -> None:
    stream = logged(io.StringIO())
    try:
        raise ValueError("x")
    except ValueError:
        logging.getLogger("pipeline.x").exception("message_failed: y")

    (line,) = lines(stream)
    assert line["traceback"].endswith("ValueError: x")


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()], ids=["terminal", "file"])
def test_text_shows_what_would_move_a_cursor_as_an_escape(
    logged: Callable[..., io.StringIO], stream: io.StringIO
) -> None:
    logged(stream, "text")

    say()

    assert "\x1b[2J" not in stream.getvalue()
    assert r"run_failed: a\x1b[2Jb\nc" in Text.from_ansi(stream.getvalue()).plain


def test_on_a_terminal_json_is_had_on_demand(logged: Callable[..., io.StringIO]) -> None:
    stream = logged(Terminal(), "json")

    say()

    assert lines(stream)[0]["event"] == "run_failed"


def test_an_unknown_form_is_an_error(logged: Callable[..., io.StringIO]) -> None:
    with pytest.raises(ConfigError, match="log format 'xml' is unknown; use --log-format json or text"):
        logged(io.StringIO(), "xml")


def test_the_flag_reaches_worker_processes_through_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(logs.FORMAT_VARIABLE, "text")
    monkeypatch.setattr("sys.argv", ["trailweave", "--log-format", "xml", "query", "--list"])

    with pytest.raises(SystemExit) as told:
        cli.main()

    assert told.value.code == 2
    assert "'xml'" in capsys.readouterr().err


def test_what_ingest_logs_names_things_and_never_their_content(
    make_world: Callable[..., World], logged: Callable[..., io.StringIO], impatient: None
) -> None:
    """An object denied, one read, one damaged, a message that is none; each record holds a marked value."""
    mark = "PAYLOAD-7f3a"
    faulty = make_world(proxied=True)
    faulty.put(trail_key("good"), trail_object([record(1, userAgent=mark)]))
    faulty.put(trail_key("bad"), trail_object([record(2, userAgent=mark)])[:-9] + mark.encode())
    faulty.put(trail_key("denied"), trail_object([record(3, userAgent=mark)]))
    faulty.send(f"no message {mark}", s3_event(faulty.bucket, trail_key("missing")))
    faulty.proxy.when("GetObject", key="*denied*").do(denied())
    stream = logged(io.StringIO())

    faulty.ingest(limits=QUICK, until_idle_s=1)

    told = lines(stream)
    assert mark not in stream.getvalue()
    deferred = next(it for it in told if it["event"] == "object_deferred")
    assert (deferred["source"], deferred["bucket"], deferred["key"]) == ("trail", faulty.bucket, trail_key("denied"))
    assert (deferred["error_type"], deferred["error_code"]) == ("denied", "AccessDenied")
    done = [it for it in told if it["event"] == "run_done"]
    assert sum(it["messages"] for it in done) == 5
    assert sum(it["events"] for it in done) >= 1
    assert all(it["run_id"] and it["duration_s"] > 0 for it in done)


def test_no_credential_is_logged_not_even_when_debugging(
    aws: World, logged: Callable[..., io.StringIO], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = "SECRETwJalrXUtnFEMIK7MDENGbPxRfi"
    file = tmp_path / "credentials"
    file.write_text(f"[default]\naws_access_key_id = AKIASECRETID\naws_secret_access_key = {secret}\n")
    aws.access_options = {"credentials_file": str(file)}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    aws.put(trail_key("one"), trail_object([record(1)]))
    stream = logged(io.StringIO())
    logs.set_up(debug=True)

    assert aws.ingest(limits=QUICK).counts["events_written"] == 1

    assert "run_done" in stream.getvalue()
    assert secret not in stream.getvalue()


def test_an_open_circuit_is_logged_with_its_source(
    make_world: Callable[..., World], logged: Callable[..., io.StringIO], impatient: None
) -> None:
    faulty = make_world(proxied=True)
    faulty.put(trail_key("one"), trail_object([record(1)]))
    faulty.proxy.when("GetObject").do(denied())
    stream = logged(io.StringIO())

    with pytest.raises(AccessError):
        faulty.ingest(limits=QUICK, on_run=lambda counts: STOP.set())

    assert [it["source"] for it in lines(stream) if it["event"] == "circuit_open"] == ["trail"]
