"""The demo removes nothing but what a demo made, and shows all of itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.demo.demo import _config, _make_room
from schemas.errors import ConfigError
from transforms.stores.files import Output, open_store
from transforms.stores.settings import Settings, agree


def test_an_output_that_the_demo_did_not_make_is_refused_and_kept(tmp_path: Path) -> None:
    trail = tmp_path / "trail"
    agree(open_store(Output(str(trail))), Settings())
    (trail / "aws_s3_raw").mkdir()

    with pytest.raises(ConfigError, match=r"'.*trail' exists, and the demo did not make it; give --output another"):
        _make_room(trail)

    assert (trail / "aws_s3_raw").is_dir()


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_a_folder_or_file_of_somebody_else_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "mine")

    with pytest.raises(ConfigError, match="did not make it"):
        _make_room(tmp_path / "mine")


def test_the_output_of_an_earlier_demo_is_made_anew(tmp_path: Path) -> None:
    _make_room(tmp_path / "demo")
    (tmp_path / "demo" / "aws_s3_raw").mkdir()

    _make_room(tmp_path / "demo")

    assert not (tmp_path / "demo" / "aws_s3_raw").exists()


def test_everything_is_derived_whatever_a_configuration_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trailweave.toml").write_text("normalize = false\nsessions = false\ndetections = false\n")

    assert _config(tmp_path / "demo").settings() == Settings(normalize=True, sessions=True, detections=True)
