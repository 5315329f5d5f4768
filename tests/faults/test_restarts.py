"""AWS goes away in the middle of the work and comes back with what it held: nothing is lost, nothing is double."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from support.restartable import restartable
from support.trails import event_ids, records, trail_key, trail_object
from support.world import assert_one_to_one, forget_clients, world

from transforms.receive_messages import Limits

OBJECTS = {trail_key(f"o{n:03}"): trail_object(records(range(n * 4, n * 4 + 8))) for n in range(120)}


@pytest.mark.usefixtures("impatient")
def test_an_emulator_that_is_restarted_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    runs, restarts = 0, 0
    with restartable(tmp_path / "aws") as aws, world(aws.emulator, tmp_path, visibility_timeout_s=4) as one:
        one.put_all(OBJECTS)

        def restart() -> None:
            nonlocal restarts
            aws.end()
            time.sleep(0.5)
            aws.start()
            restarts += 1

        away: list[threading.Thread] = []

        def after(_: object) -> None:
            nonlocal runs
            runs += 1
            if runs in (2, 5):
                away.append(threading.Thread(target=restart))
                away[-1].start()

        one.ingest(until_idle_s=6, limits=Limits(10, 0.2, 0.5), on_run=after)
        for it in away:
            it.join()

        assert restarts == 2
        assert one.waiting() == (0, 0)
        assert_one_to_one(one.output, {it for body in OBJECTS.values() for it in event_ids(body)})
    forget_clients()
