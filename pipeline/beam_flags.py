"""Beam's own flags pass through; a flag that neither trailweave nor Beam knows is an error, not a silent default."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from schemas.errors import ConfigError


def take_beam_flags(arguments: Sequence[str], own: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """(flags of Beam with their values, the other arguments).

    Raises `ConfigError` for an unknown flag, with the nearest of the command's `own` options and of Beam's.
    """
    parser = _parser()
    known = {option for action in parser._actions for option in action.option_strings}
    names = [it for it in arguments if it.startswith("-")]
    for name in names:
        flag = name.split("=", 1)[0]
        if flag not in known:
            close = difflib.get_close_matches(flag, own, 1) or difflib.get_close_matches(flag, known, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ConfigError(f"{flag} is no option of this command and none of Beam's{hint}; see --help")
    if not names:
        return [], list(arguments)
    _, rest = parser.parse_known_args(list(arguments))
    return [it for it in arguments if it not in rest], rest


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options in [PipelineOptions, *PipelineOptions.__subclasses__()]:
        if hasattr(options, "_add_argparse_args"):
            try:
                options._add_argparse_args(parser)
            except argparse.ArgumentError:
                continue
    return parser
