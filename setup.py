"""The thin shim by which Beam ships this code to its workers; every fact stands in pyproject.toml."""

from setuptools import setup

setup()
