"""`trailweave story` and `stitch` on a tree that grows."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.credentials import assume, role, session, use, user
from support.records import ACCOUNT, DAY, OTHER, event_id
from support.replaying import replay_records
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands import load
from pipeline.ingestion.recorder import Recorder
from pipeline.sql import query
from pipeline.stories.stories import FIRST, LAST, stitch
from schemas.errors import ConfigError

MADE = {"accessKey": {"accessKeyId": "AKIASPARE", "userName": "spare"}}
ISSUE = assume("issue", 100, user())
USES = [
    use("use", 130, role(100), errorCode="AccessDenied"),
    use("make", 140, role(100), eventSource="iam.amazonaws.com", eventName="CreateAccessKey", responseElements=MADE),
    use("own", 50, user()),
    use("apart", 60, user("bob", "AKIABOB")),
]


def recorder_of(output: Path, **more: Any) -> Recorder:
    root = load(output=str(output)).root()
    return Recorder("stitch", lambda: stitch(root, FIRST, LAST), **more)


def kept(output: Path, *records: Any) -> None:
    replay_records(load(output=str(output)), records)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    kept(tmp_path / "out", *USES)
    return tmp_path / "out"


def told(*arguments: str, output: Path) -> str:
    done = CliRunner().invoke(app, [*arguments, "--output", str(output)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def shown(output: Path, *arguments: str) -> Any:
    return json.loads(told("story", "show", *arguments, "--json", output=output))


def rows(output: Path, sql: str) -> list[dict[str, Any]]:
    with query.connect(load(output=str(output)).root()) as connection:
        found: list[dict[str, Any]] = query.run(connection, sql).read_all().to_pylist()
        return found


def test_a_link_that_comes_late_changes_the_answer_and_no_file(output: Path) -> None:
    alone = shown(output, "--event", event_id("use"))
    assert alone["summary"]["root_method"] == "none"
    assert told("stitch", output=output) == "3 sessions have a new story\n"
    assert told("stitch", output=output) == "0 sessions have a new story\n"
    before = {path: path.read_bytes() for path in output.rglob("*.parquet")}

    kept(output, ISSUE)

    (summary, sessions) = (shown(output, "--event", event_id("use"))[name] for name in ("summary", "sessions"))
    assert summary["root_identity"] == "ana"
    assert summary["accounts"] == [ACCOUNT, OTHER]
    assert [it["session_id"] for it in sessions] == ["AKIAANA", session(100)]
    assert sessions[1]["issuing_event_id"] == event_id("issue")
    # The session that was joined alone is recorded anew.
    assert told("stitch", output=output) == "1 session has a new story\n"
    recorded = rows(output, "SELECT session_id, root_identity, chain_depth FROM recorded_stories ORDER BY ALL")
    assert [tuple(row.values()) for row in recorded] == [
        ("AKIAANA", "ana", 0),
        ("AKIABOB", "bob", 0),
        (session(100), "ana", 1),
    ]
    assert before.items() <= {path: path.read_bytes() for path in output.rglob("*.parquet")}.items()


def test_what_a_micro_batch_touches_is_recorded_after_it_in_a_tenth_of_the_time(output: Path) -> None:
    seconds = iter([0.0, 0.0, 10.0, 99.9, 100.0, 100.0, 100.5])
    recorder = recorder_of(output, clock=lambda: next(seconds))

    def recorded() -> int:
        return len(rows(output, "FROM tree.stories"))

    recorder.after_run(Counter(commits=1))
    assert recorded() == 3
    kept(output, ISSUE)
    recorder.after_run(Counter(commits=1))
    assert recorded() == 3
    # A micro-batch without events ends the wait too.
    recorder.after_run(Counter())
    assert recorded() == 4
    # Nothing was touched since: the clock is not even asked.
    recorder.finish()
    with pytest.raises(StopIteration):
        next(seconds)


def test_a_fault_of_the_evaluation_is_told_and_stops_nothing(output: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = recorder_of(output)
    broken = output / "sessions" / f"account_id={OTHER}" / f"day={DAY}" / "00000002.parquet"
    broken.write_bytes(b"no parquet")
    recorder.after_run(Counter(commits=1))
    assert "stitch_failed" in caplog.text
    broken.unlink()
    recorder.finish()
    assert len(rows(output, "FROM tree.stories")) == 3


def test_only_sessions_of_the_range_are_recorded(output: Path) -> None:
    assert told("stitch", "--from", "2024-03-06", output=output) == "0 sessions have a new story\n"
    assert json.loads(told("stitch", "--to", DAY, "--json", output=output)) == {"recorded": 3}


def test_a_story_is_found_by_id_event_key_and_identity(output: Path) -> None:
    kept(output, ISSUE)
    stories = json.loads(told("story", "list", "--json", output=output))
    assert [(it["root_identity"], it["sessions"], it["depth"]) for it in stories] == [("ana", 2, 1), ("bob", 1, 0)]
    id_ = stories[0]["story_id"]
    by_any = [
        shown(output, id_),
        shown(output, id_.removeprefix("story-")[:6]),
        shown(output, "--event", event_id("own")),
        shown(output, "--key", "ASIAROLE"),
        # Made in the story, and never used.
        shown(output, "--key", "AKIASPARE"),
        shown(output, "--identity", "ANA"),
    ]
    assert all(it == by_any[0] for it in by_any)
    assert by_any[0]["summary"]["story_id"] == id_
    assert [it["operation"] for it in by_any[0]["timeline"]] == [
        "GetObject",
        "AssumeRole",
        "GetObject",
        "CreateAccessKey",
    ]
    assert [it["error_class"] for it in by_any[0]["timeline"]] == [None, None, "DENIED", None]


def test_the_page_draws_the_chain_and_the_list_narrows(output: Path) -> None:
    kept(output, ISSUE)
    page = told("story", "show", "--key", "ASIAROLE", output=output)
    assert "1. ana in 111122223333" in page
    assert "└── 2. admin/work in 444455556666" in page
    assert "AssumeRole at 2024-03-05T00:01:40Z" in page
    assert event_id("issue") in page
    assert "DENIED" in page
    assert max(map(len, page.splitlines())) <= 80
    assert "bob" not in told("story", "list", "--identity", "an", output=output)
    assert "ana" not in told("story", "list", "--from", "2024-03-06", output=output)


def test_what_is_not_there_or_not_clear_is_said(output: Path) -> None:
    for arguments, message in {
        ("abc123",): "no story 'abc123' in this output root",
        ("abc",): "give 6 digits of its id or more",
        (): "give one of: a story's ID, --event ID",
        ("--key", "AKIANOBODY"): "no story of access key 'AKIANOBODY'",
    }.items():
        with pytest.raises(ConfigError, match=message):
            told("story", "show", *arguments, output=output)
    kept(output, use("second", 70, user("bob", "AKIABOB2")))
    several = CliRunner().invoke(app, ["story", "show", "--identity", "bob", "--output", str(output)])
    assert "2 stories are meant; show one of them by its id" in several.stderr
    assert several.stdout.count("bob") == 2


def test_a_list_that_leaves_some_out_says_so(output: Path) -> None:
    def asked(most: str) -> Any:
        return CliRunner().invoke(app, ["story", "list", "--limit", most, "--json", "--output", str(output)])

    assert len(json.loads(asked("2").stdout)) == 2
    assert asked("2").stderr == "there are more stories; --limit N shows more than 2\n"
    assert asked("50").stderr == ""
