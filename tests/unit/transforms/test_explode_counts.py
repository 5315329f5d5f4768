"""No record may go missing between the text of an object and the rows of its slice, whatever their number."""

from __future__ import annotations

import pytest
from support.records import exploded, record


@pytest.mark.parametrize("count", [1, 511, 512, 1023, 1024, 1025, 1535, 1536, 1537, 2048, 2049, 5000])
def test_every_record_of_an_object_becomes_a_row(count: int) -> None:
    made = exploded([record(n) for n in range(count)])

    assert made.records is not None
    assert len(made.records) == made.objects[0].records == count
    assert len(set(made.records["event_id"].to_pylist())) == count
    assert made.records["source_index"].to_pylist() == [*range(count)]
