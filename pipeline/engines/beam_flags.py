"""Beam's own flags pass through; a flag that neither trailweave nor Beam knows is an error, not a silent default."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners import create_runner

from schemas.errors import ConfigError

# Beam shows its options to whoever may look at the job, and no stage would use these.
_SECRETS = {"--s3_access_key_id", "--s3_secret_access_key", "--s3_session_token", "--azure_connection_string"}
# Options of Flink's job server, which only it can list, when it runs. Source: Apache Beam documentation, "Apache
# Flink Runner", pipeline options; flags take no value.
_FLINK = (
    *("allow_non_restored_state", "attached_mode", "disable_metrics", "enable_stable_input_drain"),
    *("externalized_checkpoints_enabled", "fail_on_checkpointing_errors", "faster_copy"),
    *("finish_bundle_before_checkpointing", "force_unaligned_checkpoint_enabled", "object_reuse"),
    *("operator_chaining", "re_iterable_group_by_key_result", "retain_externalized_checkpoints_on_cancellation"),
    "unaligned_checkpoint_enabled",
)
_FLINK_WITH_VALUE = (
    *("auto_watermark_interval", "checkpoint_timeout_millis", "checkpointing_interval", "checkpointing_mode"),
    *("execution_retry_delay", "flink_conf_dir", "job_check_interval_in_secs", "latency_tracking_interval"),
    *("max_bundle_size", "max_bundle_time_mills", "min_pause_between_checkpoints", "num_concurrent_checkpoints"),
    *("number_of_execution_retries", "report_checkpoint_duration", "savepoint_path"),
    *("shutdown_sources_after_idle_ms", "state_backend", "state_backend_factory", "state_backend_storage_path"),
)


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
        if flag in _SECRETS:
            raise ConfigError(
                f"{flag} would show a secret in the job; leave it out: keys come from the environment or a file"
            )
    if not names:
        return [], list(arguments)
    flags, rest = parser.parse_known_args(list(arguments))
    if flags.runner:
        _check_runner(flags.runner)
    return [it for it in arguments if it not in rest], rest


def _check_runner(name: str) -> None:
    try:
        create_runner(name)
    except (ValueError, ImportError, AttributeError, TypeError) as error:
        raise ConfigError(f"--runner {name!r} cannot be used: {error}") from error


class _Parser(argparse.ArgumentParser):
    """Beam's flags; one that cannot be read is our error, not Beam's page of usage."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")


def _parser() -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    for options in [PipelineOptions, *PipelineOptions.__subclasses__()]:
        if hasattr(options, "_add_argparse_args"):
            try:
                options._add_argparse_args(parser)
            except argparse.ArgumentError:
                continue
    for name in _FLINK:
        parser.add_argument(f"--{name}", action="store_true")
    for name in _FLINK_WITH_VALUE:
        parser.add_argument(f"--{name}")
    return parser
