"""`python -m support.poisoned ARGUMENTS...`: trailweave, whose worker dies whenever it reads a certain object.

`environment` makes every process of this Python such a worker, whoever begins it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEY = "TRAILWEAVE_TEST_POISON"


def environment(base: Mapping[str, str], poison: str, folder: Path) -> dict[str, str]:
    """`base` for processes that Python begins with a module of `folder`, which poisons them."""
    (folder / "sitecustomize.py").write_text("from support.poisoned import poisoned\npoisoned()\n")
    path = os.pathsep.join([str(folder), str(Path(__file__).parents[1])])
    return {**base, KEY: poison, "PYTHONPATH": path}


def poisoned() -> None:
    """Read as always, but for the object that the environment names: there the process ends at once."""
    from transforms import fetch_objects

    honest, poison = fetch_objects.read_object, os.environ[KEY]

    def read(ref: Any, access: Any) -> Any:
        if ref.key == poison:
            os._exit(137)
        return honest(ref, access)

    fetch_objects.read_object = read


def main() -> None:
    from pipeline.cli import main as trailweave

    poisoned()
    sys.argv[0] = "trailweave"
    trailweave()


if __name__ == "__main__":
    main()
