from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import duckdb
import pytest
from support.locked import lock
from support.trails import records, trail_object

from pipeline import commands
from pipeline.engines.beam_flags import take_beam_flags
from pipeline.ingestion.summary import Summary
from pipeline.sql.query import library
from schemas import counters
from schemas.errors import AccessError, ConfigError
from transforms.list_objects import Selection
from transforms.stores import files, settings

Run = Callable[..., tuple[int, str, str]]
ONE, TWO = "111122223333", "012345678901"


@pytest.fixture
def run(command_line: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command line in an empty folder, without configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    for name in [*os.environ]:
        if name.startswith("TRAILWEAVE_"):
            monkeypatch.delenv(name)
    for cache in (files._store, settings._commit_log):  # they know a relative path by its first folder
        cache.cache_clear()
    return command_line


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.json.gz").write_bytes(trail_object(records(range(10))))
    return str(tmp_path / "in")


def test_replay_prints_a_summary_with_the_promised_keys(run: Run, folder: str) -> None:
    code, out, _ = run("replay", "--source", folder, "--output", "out", "--json", "--quiet")

    assert code == 0
    told = json.loads(out)
    assert {"objects", "records", "written", "duplicates", "dead_letters", "seconds"} <= set(told)
    assert (told["objects"], told["records"], told["written"], told["duplicates"]) == (1, 10, 10, 0)


def test_without_json_it_is_one_line_for_a_person(run: Run, folder: str) -> None:
    code, out, _ = run("replay", "--source", folder, "--output", "out", "--quiet")

    assert code == 0
    assert out.startswith("1 object, 10 records: 10 written, 0 duplicates, 0 dead letters")
    assert out.count("\n") == 1


def test_a_replay_of_nothing_says_why(run: Run, folder: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    replay = ["replay", "--output", "out", "--quiet", "--source"]
    run(*replay, folder)

    assert run(*replay, folder)[1].endswith("; 1 object was done before\n")
    assert run(*replay, str(tmp_path / "empty"))[1].endswith("; nothing to read was found there\n")
    assert run(*replay, folder, "--account", ONE, "--force")[1].endswith(" records/s)\n")


def test_a_deferred_object_makes_exit_code_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "replay", lambda *_, **__: Summary(Counter({counters.OBJECTS_DEFERRED: 2}), 1.0))

    code, out, _ = run("replay", "--source", "x", "--output", "out", "--json")

    assert (code, json.loads(out)["deferred"]) == (1, 2)


BACKWARDS = ["--output", "o", "--from", "2026-01-02", "--to", "2026-01-01"]
USAGE = {
    "no output": (["replay", "--source", "x"], "give --output URI"),
    "nothing to replay": (["replay", "--output", "o"], "give --source URI"),
    "nothing to ingest": (["ingest", "--output", "o"], "give --queue-url URL"),
    "no folder": (["replay", "--source", "nowhere", "--output", "o"], "'nowhere' is no folder"),
    "an empty source": (["replay", "--source", "", "--output", "o"], "--source is empty, as by a variable"),
    "no day": (["replay", "--source", ".", "--output", "o", "--from", "1.2.2026"], "'1.2.2026' is no day"),
    "no such day": (["replay", "--source", ".", "--output", "o", "--to", "2026-02-30"], "yyyy-mm-dd"),
    "no days of a replay": (["replay", "--source", ".", *BACKWARDS], "--to 2026-01-01 lies before --from 2026-01-02"),
    "no days of a hunt": (["hunt", *BACKWARDS], "lies before"),
    "no days of stories": (["story", "list", *BACKWARDS], "lies before"),
    "no days to stitch": (["stitch", *BACKWARDS], "lies before"),
    "no days of alerts": (["alert", "list", *BACKWARDS], "lies before"),
    "no days to compact": (["compact", *BACKWARDS], "lies before"),
    "no days to verify": (["verify", "--source", ".", *BACKWARDS], "lies before"),
    "no account": (["replay", "--source", ".", "--output", "o", "--account", "12345678901"], "12 digits"),
    "no account of a hunt": (["hunt", "--output", "o", "--account", "prod"], "--account 'prod'"),
    "no runner": (["replay", "--source", ".", "--output", "o", "--runner=Nope"], "--runner 'Nope' cannot be used"),
    "a runner without a name": (["ingest", "--output", "o", "--runner"], "--runner: expected one argument"),
    "no output to replay the dead letters of": (["replay", "--dead-letters", "--output", "o"], "no trailweave data"),
    "a part of the dead letters": (
        ["replay", "--dead-letters", "--output", "o", "--from", "2026-01-01"],
        "--dead-letters feeds in all of them again; leave them out",
    ),
    "nothing to stitch": (["stitch", "--output", "o"], "no trailweave data"),
    "nothing to raise alerts from": (["alert", "evaluate", "--output", "o"], "no trailweave data"),
    "a stray word": (["replay", "x", "--output", "o"], "unexpected argument 'x'"),
    "an unknown flag": (["ingest", "--outptu", "o"], "--outptu is no option"),
    "an unknown source": (["ingest", "main", "--output", "o"], "no source is named 'main'"),
    "a bad queue": (["ingest", "--queue-url", "q", "--output", "o"], "queue_url' has the value 'q'"),
    "a bad number": (["ingest", "--max-slice-bytes", "5", "--output", "o"], "'max_slice_bytes' has the value 5"),
    "no data": (["repair", "--output", "o"], "'o' holds no trailweave data"),
    "nothing to compact": (["compact", "--output", "o"], "'o' holds no trailweave data"),
    "nothing to make views of": (["query", "--views", "--output", "o"], "'o' holds no trailweave data"),
    "another scheme": (["status", "--output", "az://b"], "'az'"),
}
QUEUE = "https://sqs.eu-central-1.amazonaws.com/111122223333/trail"
ON_AN_ENGINE = {
    "--until-idle=5": "an engine runs until it is cancelled",
    "--stitch": "run `trailweave stitch --every S`",
    "--alerts": "run `trailweave alert evaluate --every S`",
    "--compact": "run `trailweave compact`",
    "--workers=2": "an engine has its own parallelism",
    "--metrics-port=0": "an engine has metrics of its own",
}
USAGE |= {
    f"{option} on an engine": (
        ["ingest", "--queue-url", QUEUE, "--output", "o", "--runner=PrismRunner", option],
        f"{option.split('=')[0]} is for this machine's own loop; {told}",
    )
    for option, told in ON_AN_ENGINE.items()
}
USAGE["--pollers on this machine"] = (
    ["ingest", "--queue-url", QUEUE, "--output", "o", "--pollers=2"],
    "--pollers is for an engine",
)


@pytest.mark.parametrize(("arguments", "told"), USAGE.values(), ids=USAGE)
def test_bad_usage_is_one_line_with_code_and_remedy_and_exit_code_2(
    run: Run, arguments: list[str], told: str
) -> None:
    code, out, err = run(*arguments)

    assert code == 2
    assert not Path("o").exists()
    assert out == ""
    (line,) = err.strip().splitlines()
    assert line.startswith("trailweave: TW-CONFIG: ")
    assert told in line


def test_options_that_typer_itself_refuses_have_exit_code_2(run: Run) -> None:
    assert run("ingest", "--max-wait", "soon", "--output", "o")[0] == 2
    assert run("replay", "--workers", "0", "--output", "o")[0] == 2
    assert run("nonsense")[0] == 2


def test_a_denial_has_exit_code_3(run: Run, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Summary:
        raise AccessError("s3:ListBucket on b was refused to me")

    monkeypatch.setattr(commands, "replay", refuse)

    code, _, err = run("replay", "--source", folder, "--output", "o")

    assert (code, err) == (3, "trailweave: TW-ACCESS: s3:ListBucket on b was refused to me\n")


@pytest.mark.parametrize("command", [["status"], ["query", "SELECT 1"], ["story", "list"], ["compact"]])
def test_an_output_that_this_user_may_not_read_is_told_with_exit_code_3(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    locked = lock(tmp_path / "o", monkeypatch)

    code, out, err = run(*command, "--output", "o")

    assert (code, out) == (3, "")
    assert err == f"trailweave: TW-ACCESS: {locked} cannot be read: Permission denied; let this user read it\n"


def test_the_library_fits_80_columns_with_its_names_and_parameters_whole(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    lines = run("query", "--list")[1].splitlines()

    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    for query in library():
        assert any(line.startswith(f"{query.name} ") for line in lines)
        parameters = ", ".join(it.name for it in query.parameters)
        assert not parameters or f"Parameters: {parameters}." in text


def test_the_library_tells_what_its_parameters_mean_and_are_if_not_given(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.terminal.rows.UNKNOWN_WIDTH", 200)
    parameters = {query.name: query.parameters for query in library()}

    lines = {" ".join(line.split()) for line in run("query", "--list")[1].splitlines()}
    told = json.loads(run("query", "--list", "--json")[1])

    for it in {it for each in parameters.values() for it in each}:
        value = f"to be given, such as {it.example}" if it.default is None else f"{it.default} if not given"
        assert f"{it.name} {value} {it.meaning}" in lines
    assert {it["name"]: it["parameters"] for it in told} == {
        name: [asdict(it) for it in each] for name, each in parameters.items()
    }


def test_the_views_are_made_in_another_duckdb_by_a_script(run: Run, folder: str) -> None:
    run("replay", "--source", folder, "--output", "out", "--quiet")
    code, script, _ = run("query", "--views", "--output", "out")

    assert code == 0
    # The last part needs DuckDB's avro extension.
    script = script[: script.index("-- tree.dead_letters for plain DuckDB")]
    with duckdb.connect() as another:
        another.execute(script)
        assert another.sql("SELECT count(*) FROM cloud_audit_logs").fetchall() == [(10,)]


def test_views_of_a_root_that_plain_duckdb_does_not_read_are_refused(run: Run) -> None:
    code, _, err = run("query", "--views", "--output", "gs://lake/trail")

    assert (code, "--views is for a local folder or s3://" in err) == (2, True)

    code, _, err = run("query", "--views", "--output", "s3://lake/day=2026-01-01/trail")

    assert (code, "lies below a folder named as a partition" in err) == (2, True)


def test_beams_flags_pass_through(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    def note(config: object, names: object, queue_url: object, options: commands.IngestOptions) -> Summary:
        given.update(names=names, beam_flags=options.beam_flags)
        return Summary(Counter(), 1.0)

    monkeypatch.setattr(commands, "ingest", note)

    assert run("ingest", "main", "--runner", "FnApiRunner", "old", "--job_name=x", "--output", "o")[0] == 0
    assert given["names"] == ["main", "old"]
    assert given["beam_flags"] == ["--runner", "FnApiRunner", "--job_name=x"]


def test_the_selection_is_taken_from_the_flags(run: Run, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    def note(config: object, names: object, selection: object, **_: object) -> Summary:
        given.extend([names, selection])
        return Summary(Counter(), 1.0)

    monkeypatch.setattr(commands, "replay", note)

    code, _, err = run(
        *("replay", "--source", "a", "--source", "b", "--output", "o", "--account", ONE, "--account", TWO),
        *("--region", "r", "--from", "2026-01-01", "--to", "2026-01-31"),
    )

    assert code == 0, err
    assert given == [["a", "b"], Selection(frozenset({ONE, TWO}), frozenset({"r"}), "2026-01-01", "2026-01-31")]


def test_another_setting_for_the_same_output_is_refused_and_named(run: Run, folder: str) -> None:
    assert run("replay", "--source", folder, "--output", "out", "--no-normalize", "--quiet")[0] == 0

    code, _, err = run("replay", "--source", folder, "--output", "out", "--quiet")

    assert code == 2
    assert "normalize is False there and True here" in err


def test_the_version_names_what_it_runs_on(run: Run) -> None:
    code, out, _ = run("--version")

    assert code == 0
    assert "trailweave" in out


@pytest.mark.parametrize("flag", ["--outptu", "--max-wiat", "--numworkers"])
def test_a_flag_that_nobody_knows_is_refused(flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        take_beam_flags([flag, "1"])


@pytest.mark.parametrize("flag", ["--s3_secret_access_key", "--s3_session_token", "--azure_connection_string"])
def test_a_flag_of_beam_that_would_show_a_secret_is_refused_without_its_value(flag: str) -> None:
    for given in ([f"{flag}=do-not-tell"], [flag, "do-not-tell"]):
        with pytest.raises(ConfigError, match=f"{flag} would show a secret") as refused:
            take_beam_flags(given)
        assert "do-not-tell" not in str(refused.value)


def test_options_that_only_flinks_job_server_lists_pass_through() -> None:
    flags = ["--runner=FlinkRunner", "--checkpointing_interval", "10000", "--object_reuse"]
    assert take_beam_flags([*flags, "main"]) == (flags, ["main"])


def test_names_and_beams_flags_are_told_apart() -> None:
    assert take_beam_flags([]) == ([], [])
    assert take_beam_flags(["a", "b"]) == ([], ["a", "b"])
    assert take_beam_flags(["--streaming", "a"]) == (["--streaming"], ["a"])
