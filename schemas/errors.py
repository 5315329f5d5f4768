"""Errors an operator meets. Each names the thing, the value and the remedy, and carries its exit code."""

from __future__ import annotations


class TrailweaveError(Exception):
    """Base of every error that is reported without a traceback.

    `code` is short and stable (`TW-...`); `exit_code` is part of the command line's interface:
    1 finished but something failed, 2 usage or configuration, 3 access denied or unreachable.
    """

    code = "TW-ERROR"
    exit_code = 1


class ConfigError(TrailweaveError):
    """An option, a configuration value or an output root that cannot be used as given."""

    code = "TW-CONFIG"
    exit_code = 2


class AccessError(TrailweaveError):
    """A call that was denied or could not reach its service; the text names call, resource and principal."""

    code = "TW-ACCESS"
    exit_code = 3


class StoreError(TrailweaveError):
    """A store that does not do what the commit protocol needs, or holds what it cannot hold."""

    code = "TW-STORE"
    exit_code = 2


class OutputError(StoreError):
    """A store that cannot be written as things are: full, read-only, or denied. It may be tried again later."""

    exit_code = 3


class WorkerError(TrailweaveError):
    """Worker processes that end without a word, one after another."""

    code = "TW-WORKER"


class EngineError(TrailweaveError):
    """A job that an engine gave up, or that could not be handed to one."""

    code = "TW-ENGINE"
