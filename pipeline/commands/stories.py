"""Stories, recorded and shown."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from pipeline.config import Config
from schemas.errors import ConfigError
from transforms.stores.files import open_store, prove


def stitch(config: Config, first_day: str | None, last_day: str | None, *, every_s: float | None) -> int:
    """Record the stories that changed: how many. With `every_s` again and again, until a signal comes."""
    from pipeline.sql.tree import open_tree
    from pipeline.stories import stories
    from pipeline.terminal.stopping import stopping
    from transforms.receive_messages import STOP

    output = config.root()
    open_tree(output)
    prove(open_store(output))
    since, until = first_day or stories.FIRST, last_day or stories.LAST
    count = stories.stitch(output, since, until)
    if every_s is not None:
        with stopping():
            while not STOP.wait(every_s):
                count += stories.stitch(output, since, until)
    return count


def list_stories(
    config: Config, identity: str | None, first_day: str | None, last_day: str | None, *, most: int, form: str
) -> None:
    """Print the stories seen from the first to the last day; a table has the columns that fit."""
    from pipeline.commands.showing import at_most
    from pipeline.stories import stories
    from pipeline.terminal.rows import print_rows

    since, until = first_day or stories.FIRST, last_day or stories.LAST
    with stories.connect(config.root()) as connection:
        found = stories.listed(connection, identity=identity, since=since, until=until, most=most + 1)
    rows = at_most(found, most, "stories")
    print_rows(stories.in_short(rows) if form == "table" else rows, form, sys.stdout)


def show_story(config: Config, asked: Mapping[str, str | None], *, as_json: bool) -> None:
    """Print the story that one of `asked` (kind to value) names; a table of them where several are meant."""
    from pipeline.commands.showing import show_one
    from pipeline.stories import stories
    from pipeline.stories.page import render

    given = [(kind, value) for kind, value in asked.items() if value is not None]
    if len(given) != 1:
        raise ConfigError("give one of: a story's ID, --event ID, --key ACCESS_KEY_ID, --identity NAME")
    ((kind, value),) = given
    with stories.connect(config.root()) as connection:
        found = stories.show(connection, stories.Asked(kind, value))  # type: ignore[arg-type]
    show_one(found, "stories", stories.in_short, render, as_json=as_json)
