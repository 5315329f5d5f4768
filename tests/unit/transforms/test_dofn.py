from __future__ import annotations

import inspect

import pytest
from apache_beam.transforms.core import _StateDoFnParam, _TimerDoFnParam

import pipeline.graph  # noqa: F401 - every stage is imported by it
from transforms.dofn import StageFn


@pytest.mark.parametrize("kind", StageFn.__subclasses__(), ids=lambda it: it.__module__)
def test_no_stage_has_state_or_timers_that_beam_would_not_see(kind: type[StageFn]) -> None:
    methods = [member for _, member in inspect.getmembers(kind, inspect.isfunction)]
    defaults = [it.default for method in methods for it in inspect.signature(method).parameters.values()]
    assert not [it for it in defaults if isinstance(it, (_StateDoFnParam, _TimerDoFnParam))]
    assert {"process", "setup", "teardown", "start_bundle", "finish_bundle"} >= set(dir(kind.__new__(kind)))
