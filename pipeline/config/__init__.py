"""Configuration: trailweave.toml, then environment, then flags, validated once into one frozen object."""

from __future__ import annotations

from pipeline.config.loading import load, queue_source
from pipeline.config.options import Config
from pipeline.config.tables import FILE

__all__ = ["FILE", "Config", "load", "queue_source"]
