from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import commands
from pipeline.config import Config, load
from schemas.errors import ConfigError
from transforms.stores.aws import ClientSide

QUEUE = "https://sqs.eu-central-1.amazonaws.com/111122223333/trail"
ROLE = "arn:aws:iam::111122223333:role/reader"

Write = Callable[[str], None]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith("TRAILWEAVE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return lambda text: (tmp_path / "trailweave.toml").write_text(text) and None


def refusal(**flags: object) -> str:
    with pytest.raises(ConfigError) as told:
        load(flags)
    assert told.value.exit_code == 2
    return str(told.value)


def test_without_anything_the_defaults_hold() -> None:
    config = load({"max_wait": None})

    assert (config.max_wait, config.max_messages, config.max_slice_bytes) == (30.0, 1000, 48_000_000)
    assert config.normalize
    assert config.source == ()


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_a_folder_or_a_broken_link_in_place_of_the_file_is_refused(make: Callable[[Path], None]) -> None:
    """Else its output, rules and sinks were left out without a word."""
    make(Path("trailweave.toml"))

    assert refusal() == (
        "trailweave.toml is a folder or a link to nowhere, and no configuration; correct or remove it"
    )


def test_a_user_without_a_home_has_no_configuration_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under an arbitrary number: neither HOME nor an entry in the list of users."""
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)

    assert load({}).output is None


def test_flags_win_over_the_environment_and_that_over_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write('output = "file"\nmax_wait = 1\nmax_messages = 11\nnormalize = false')
    monkeypatch.setenv("TRAILWEAVE_OUTPUT", "environment")
    monkeypatch.setenv("TRAILWEAVE_MAX_WAIT", "2")

    config = load({"output": "flag", "normalize": None})

    assert (config.output, config.max_wait, config.max_messages) == ("flag", 2.0, 11)
    assert config.normalize is False


def test_the_users_own_file_is_read_where_there_is_none_here(tmp_path: Path, write: Write) -> None:
    (tmp_path / "xdg" / "trailweave").mkdir(parents=True)
    (tmp_path / "xdg" / "trailweave" / "config.toml").write_text('output = "mine"')
    assert load({}).output == "mine"

    write('output = "here"')
    assert load({}).output == "here"


def test_one_member_of_the_output_access_may_come_from_the_environment(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(f'output = "s3://b/p"\n[output_access]\nrole_arn = "{ROLE}"')
    monkeypatch.setenv("TRAILWEAVE_OUTPUT_ACCESS__EXTERNAL_ID", "s3cret-id")

    access = load({}).root().access

    assert (access.role_arn, access.external_id) == (ROLE, "s3cret-id")


def test_a_source_becomes_what_the_stages_take(write: Write) -> None:
    write(
        f'[[source]]\nname = "main"\nqueue_url = "{QUEUE}"\nbuckets = ["one", "two"]\nprofile = "p"\n'
        f'region = "eu-central-1"\nvisibility_s = 60\nmax_receives = 3\ncredentials_file = "keys"\n'
        '[[source]]\nname = "old"\nlocation = "s3://old"'
    )

    sources = load({}).sources()

    main = sources["main"]
    assert (main.queue_url, main.buckets, main.visibility_s, main.max_receives) == (QUEUE, ("one", "two"), 60, 3)
    assert (main.access.profile, main.access.region, main.access.credentials_file) == ("p", "eu-central-1", "keys")
    assert sources["old"].location == "s3://old"


UNKNOWN = {
    "of the file": ("outptu = 1", "unknown option 'outptu' (did you mean 'output'?)"),
    "of a source": ('[[source]]\nname = "a"\nqueue-url = "x"', "(did you mean 'queue_url'?)"),
    "of an access": (
        "[output_access]\nrole_arm = 1",
        "unknown option 'output_access.role_arm' (did you mean 'role_arn'?)",
    ),
    "like nothing": ("zzz = 1", "unknown option 'zzz' (known: "),
}


@pytest.mark.parametrize(("text", "told"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_option_is_an_error_with_a_suggestion(write: Write, text: str, told: str) -> None:
    write(text)

    assert told in refusal()


BAD = {
    "a wait": ("max_wait = 0", "'max_wait' has the value 0", "greater than 0"),
    "a size": ("max_slice_bytes = 10", "'max_slice_bytes' has the value 10", "1000000"),
    "a count": ("max_messages = 'many'", "'max_messages' has the value 'many'", "integer"),
    "a queue": ('[[source]]\nname = "a"\nqueue_url = "q"', "'source.0.queue_url' has the value 'q'", "https"),
    "a role": (
        '[[source]]\nname = "a"\nrole_arn = "reader"',
        "'source.0.role_arn' has the value 'reader'",
        "arn:aws",
    ),
    "a name": ('[[source]]\nname = "a b"', "'source.0.name' has the value 'a b'", "letters, digits"),
    "a time": ('[[source]]\nname = "a"\nvisibility_s = 1', "'source.0.visibility_s' has the value 1", "10"),
    "no name": (f'[[source]]\nqueue_url = "{QUEUE}"', "source.0.name", "is missing"),
}


BAD |= {
    "a list as text": (
        '[[source]]\nname = "a"\nbuckets = "x"',
        "'source.0.buckets' has the value 'x'",
        'a list is expected, such as buckets = ["x"]',
    ),
    "a list as a number": ("rules = 1", "'rules' has the value 1", "a list is expected, such as rules = [1]"),
    "tables as text": ('source = "x"', "'source' has the value 'x'", "such tables are expected, written [[source]]"),
    "one table of many": ('[sink]\nname = "a"', "'sink'", "such tables are expected, written [[sink]]"),
    "a table among text": ('sink = ["x"]', "'sink.0' has the value 'x'", "written [[sink]]"),
    "a table as text": ('enrichment = "x"', "'enrichment' has the value 'x'", "written [enrichment]"),
    "a choice": ('normalize = "maybe"', "'normalize' has the value 'maybe'", "true or false is expected"),
    "a number for text": ("output = 3", "'output' has the value 3", "text is expected, in quotes"),
    "a number for a path": ("rules = [1]", "'rules.0' has the value 1", "a path is expected, in quotes"),
}


@pytest.mark.parametrize(("text", "thing", "remedy"), BAD.values(), ids=BAD)
def test_a_bad_value_names_the_option_the_value_and_what_is_valid(
    write: Write, text: str, thing: str, remedy: str
) -> None:
    write(text)

    told = refusal()

    assert thing in told
    assert remedy in told


def test_a_bad_variable_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAILWEAVE_MAX_WAIT", "soon")

    assert "'max_wait' has the value 'soon'" in refusal()


MISSPELT = {
    "TRAILWEAVE_OUTPTU": "TRAILWEAVE_OUTPUT",
    "TRAILWEAVE_OUTPUT_DIR": "TRAILWEAVE_OUTPUT",
    "TRAILWEAVE_NORMALISE": "TRAILWEAVE_NORMALIZE",
    "TRAILWEAVE_LOGFORMAT": "TRAILWEAVE_LOG_FORMAT",
    "TRAILWEAVE_OUTPUT_ACCESS_REGION": "TRAILWEAVE_OUTPUT_ACCESS__REGION",
    "trailweave_max_wiat": "TRAILWEAVE_MAX_WAIT",
}


@pytest.mark.parametrize(("given", "meant"), MISSPELT.items())
def test_a_misspelt_variable_is_refused_with_the_nearest_name(
    given: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(given, "1")

    assert refusal() == f"the environment's {given} is no option (did you mean {meant}?)"


@pytest.mark.parametrize(
    "name",
    [
        "TRAILWEAVE_PORT_8080_TCP_ADDR",
        "TRAILWEAVE_SERVICE_HOST",
        "TRAILWEAVE_SERVICE_PORT_METRICS",
        "TRAILWEAVE_PORT",
        "TRAILWEAVE_DATA",
        "TRAILWEAVE_SECRETS",
        "TRAILWEAVE_LOG_FORMAT",
    ],
)
def test_what_kubernetes_and_others_set_is_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "json")

    assert load({}) == Config()


@pytest.mark.parametrize("name", ["TRAILWEAVE_RULES", "TRAILWEAVE_SOURCE", "TRAILWEAVE_ENRICHMENT__TOR"])
def test_a_list_that_is_no_json_is_told_with_an_example_and_without_its_value(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, SECRET)

    told = refusal()

    assert told.startswith(f"{name.split('__')[0]}, or a part of it, is no JSON")
    assert """TRAILWEAVE_RULES='["one", "two"]'""" in told
    assert SECRET not in told


def test_a_file_that_is_no_toml_is_named(write: Write) -> None:
    write("output = ")

    assert "trailweave.toml" in refusal()


def test_two_sources_of_one_name_are_refused(write: Write) -> None:
    write(f'[[source]]\nname = "a"\nqueue_url = "{QUEUE}"\n[[source]]\nname = "a"\nqueue_url = "{QUEUE}2"')

    assert refusal() == "option 'source': two sources are named 'a'; give each a name of its own"


SECRET = "s3cret-external-id"


@pytest.mark.parametrize(
    "text",
    [
        f'[source]\nname = "a"\nexternal_id = "{SECRET}"',
        f'[[source]]\nname = "a"\nexternal_id = "{SECRET}"\nzzz = 1',
        f'[[source]]\nname = "a"\nexternal_id = ["{SECRET}"]',
        f'[[source]]\nname = "a"\naws_secret_access_key = "{SECRET}"',
        f'[output_access]\nexternal_id = ["{SECRET}"]',
    ],
)
def test_no_error_shows_a_secret(write: Write, text: str) -> None:
    write(text)

    assert SECRET not in refusal()


def test_no_repr_shows_a_secret(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    write(
        f'[output_access]\nexternal_id = "{SECRET}"\n'
        f'[[source]]\nname = "a"\nqueue_url = "{QUEUE}"\nexternal_id = "{SECRET}"'
    )
    config = load({"output": "out"})
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").info("%s %r %r %r", config, config, config.sources(), config.root())

    assert SECRET not in caplog.text
    assert SECRET not in str(config) + repr(config.source) + repr(config.output_access)
    assert config.sources()["a"].access.external_id == SECRET


def test_the_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load({}).output = "x"  # type: ignore[misc]


def test_an_unknown_source_is_refused_with_the_known_ones(write: Write) -> None:
    write(f'[[source]]\nname = "main"\nqueue_url = "{QUEUE}"\n[[source]]\nname = "old"\nlocation = "s3://old"')
    config = load({"output": "out"})

    with pytest.raises(ConfigError, match=r"no source is named 'mian' \(did you mean 'main'\?\)"):
        config.sources(["mian"])
    with pytest.raises(ConfigError, match=r"source 'old' has no queue_url"):
        commands.queue_sources(config, ["old"], None)
    with pytest.raises(ConfigError, match=r"source 'main' has no location"):
        commands.located(config, ["main"])
    with pytest.raises(ConfigError, match="leave out main"):
        commands.queue_sources(config, ["main"], QUEUE)
    assert [*commands.queue_sources(config, [], None)] == ["main"]


def test_a_queue_url_that_is_none_is_told_as_any_option(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"queue_url' has the value 'my-queue'"):
        commands.queue_sources(load({}), [], "my-queue")


def test_without_an_output_or_a_source_the_remedy_is_told() -> None:
    with pytest.raises(ConfigError, match="give --output URI"):
        load({}).root()
    with pytest.raises(ConfigError, match="give --queue-url URL"):
        commands.queue_sources(load({}), [], None)


@pytest.mark.parametrize(
    ("output", "told"), [("s3:///p", "names no bucket"), ("az://b/p", "'az'"), ("https://x/y", "'https'")]
)
def test_an_output_that_is_none_is_refused(output: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        commands.begin(load({"output": output}), {})


def test_settings_and_sizes_reach_the_stages() -> None:
    config = Config(max_slice_bytes=2_000_000, max_object_bytes=3, max_ratio=4, max_record_bytes=5_000, max_wait=6.0)

    fetch = config.fetch()

    assert (fetch.slice_bytes, fetch.caps.object_bytes, fetch.caps.ratio, fetch.caps.record_bytes) == (
        2_000_000,
        3,
        4,
        5_000,
    )
    assert config.limits().wait_s == 6.0


CLIENT_SIDE = '[[source]]\nname = "a"\nclient_side = {{kms_key = "{key}"{more}}}\n'
KMS_KEY = "arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/trail"


def test_client_side_encryption_reaches_the_access_of_its_source_alone(write: Write) -> None:
    write(CLIENT_SIDE.format(key=KMS_KEY, more=', context = {team = "audit"}, accept = "authenticated"'))
    config = load({"output": "out"})
    how = config.sources()["a"].access.client_side
    assert how == ClientSide(KMS_KEY, (("team", "audit"),), "authenticated")
    assert config.root().access.client_side is None


@pytest.mark.parametrize(
    ("key", "more", "told"),
    [
        ("1234abcd", "", "client_side.kms_key' has the value '1234abcd'"),
        (KMS_KEY, ', accept = "all"', "'committed', 'authenticated' or 'legacy'"),
        (KMS_KEY, ', contxt = {a = "b"}', "did you mean 'context'?"),
        (KMS_KEY, ", context = {a = 1}", "client_side.context.a' has the value 1"),
    ],
)
def test_client_side_encryption_that_cannot_be_is_refused(write: Write, key: str, more: str, told: str) -> None:
    write(CLIENT_SIDE.format(key=key, more=more))
    assert told in refusal()


def test_an_option_that_must_be_there_is_told_as_missing(write: Write) -> None:
    write('[[source]]\nname = "a"\nclient_side = {}')
    assert refusal() == "option 'source.0.client_side.kms_key' is missing"


def test_client_side_encryption_without_its_library_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.stores.client_side.find_spec", lambda _: None)
    write(CLIENT_SIDE.format(key=KMS_KEY, more=""))
    with pytest.raises(ConfigError, match=r"not installed: pip install 'trailweave\[client-side\]'"):
        load({}).sources()
