"""What `--help` tells: every command, option and argument, with nothing eaten by markup."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
import typer.main

from pipeline.cli import app


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    for each, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, f"{name} {each}")


COMMANDS = dict(_commands(typer.main.get_command(app), "trailweave"))


def _help(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    command = COMMANDS[name]
    with click.Context(command, info_name=name) as context:
        print(command.get_help(context))
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_there_are_the_commands_of_the_first_page() -> None:
    assert {"trailweave ingest", "trailweave story show", "trailweave rule check", "trailweave query"} <= set(
        COMMANDS
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_is_explained_as_it_was_written(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    shown = _help(name, capsys)
    assert COMMANDS[name].help
    for parameter in COMMANDS[name].params:
        text = getattr(parameter, "help", None)
        assert text, f"{name}: {parameter.name} has no help"
        assert " ".join(text.split()) in shown, f"{name}: {parameter.name}"


@pytest.mark.parametrize("option", ["output", "as_json", "quiet", "first_day", "last_day", "account", "form"])
def test_an_option_of_several_commands_has_one_name(option: str) -> None:
    spelled = {
        (*parameter.opts, parameter.metavar if option != "output" else None)
        for command in COMMANDS.values()
        for parameter in command.params
        if parameter.name == option
    }
    assert len(spelled) == 1, spelled
