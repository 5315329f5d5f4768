from __future__ import annotations

from copy import deepcopy

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, TypeOptions

from pipeline.ingestion.runs import _Options, engine


def test_options_are_beams_own_each_view_made_once() -> None:
    flags = ["--runner=FlinkRunner", "--no_pipeline_type_check"]
    options, beams = _Options(flags), PipelineOptions(flags)
    assert options.get_all_options() == beams.get_all_options()
    assert options.view_as(StandardOptions) is options.view_as(StandardOptions)
    assert options.view_as(TypeOptions).pipeline_type_check is False


def test_views_share_their_values_and_a_copy_has_its_own() -> None:
    options = _Options(["--runner=FlinkRunner"])
    standard = options.view_as(StandardOptions)
    copy = deepcopy(options)
    standard.runner = "FnApiRunner"
    assert options.view_as(StandardOptions).runner == "FnApiRunner"
    assert options.get_all_options()["runner"] == "FnApiRunner"
    assert copy.view_as(StandardOptions).runner == "FlinkRunner"


def test_the_engine_is_the_one_that_the_flags_ask_for() -> None:
    assert engine([]) is None
    assert engine(["--runner=FnApiRunner"]) is None
    assert engine(["--runner=FlinkRunner"]) == "FlinkRunner"
