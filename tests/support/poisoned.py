"""`python -m support.poisoned ARGUMENTS...`: trailweave, whose worker dies whenever it reads a certain object."""

from __future__ import annotations

import os
import sys
from typing import Any

KEY = "TRAILWEAVE_TEST_POISON"


def main() -> None:
    """Read as always, but for the object that the environment names: there the process ends at once."""
    from pipeline.cli import main as trailweave
    from transforms import fetch_objects

    honest, poison = fetch_objects.read_object, os.environ[KEY]

    def read(ref: Any, access: Any) -> Any:
        if ref.key == poison:
            os._exit(137)
        return honest(ref, access)

    fetch_objects.read_object = read
    sys.argv[0] = "trailweave"
    trailweave()


if __name__ == "__main__":
    main()
