"""See it work, set it up, and the Test button."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.app import app
from pipeline.cli.options import (
    JsonOption,
    OutputOption,
    QuietOption,
    pair,
)
from schemas.errors import ConfigError

_NEXT = """\
With the template in trail.yaml:
  aws cloudformation deploy --stack-name trail --template-file trail.yaml --capabilities CAPABILITY_IAM
  aws cloudformation describe-stacks --stack-name trail --output text \\
      --query "Stacks[0].Outputs[?OutputKey=='Source'].OutputValue" > trailweave.toml
  trailweave check"""


@app.command(rich_help_panel="Set up")
def demo(
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Where the tree goes; that of an earlier demo is made anew."),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """See it work, offline: an emulated AWS, an organisation's trail with an attack in it, and the answers."""
    from pipeline.demo.demo import run_demo

    run_demo(output or Path("trailweave-demo"), quiet=quiet)


@app.command(rich_help_panel="Set up")
def setup(
    print_: Annotated[bool, typer.Option("--print", help="Write the template to stdout; nothing is called.")] = False,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="A parameter of the template; may be repeated."),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Show the template's parameters.")] = False,
) -> None:
    """The CloudFormation template of everything that trailweave needs in AWS, with your names filled in."""
    from pipeline.onboarding.template import described, filled_in

    if list_all == print_:
        raise ConfigError("give --print to write the template, or --list to see its parameters")
    given = dict(pair(it) for it in parameter or [])
    sys.stdout.write(described() if list_all else filled_in(given))
    if print_:
        print(_NEXT, file=sys.stderr)


@app.command(rich_help_panel="Set up")
def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Sources of trailweave.toml.")
    ] = None,
    output: OutputOption = None,
    queue_url: Annotated[str | None, typer.Option("--queue-url", metavar="URL", help="An unnamed source.")] = None,
    wait: Annotated[
        int, typer.Option("--wait", metavar="S", min=1, max=20, help="How long to wait for a message.")
    ] = 10,
    as_json: JsonOption = False,
) -> None:
    """The Test button: every call of the path, dry, with what was denied to whom and what to add.

    Exit codes: 0 fine, 1 misconfigured, 3 denied, 5 unreachable.
    """
    from pipeline import commands

    code = commands.check(commands.load(output=output), names or [], queue_url, wait_s=wait, as_json=as_json)
    if code:
        raise typer.Exit(code)
