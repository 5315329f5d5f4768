"""Rules travel in the graph as text, small, and are the same where they arrive."""

from __future__ import annotations

import pickle
from pathlib import Path

from transforms.rules.book import RuleBook


def test_a_book_that_was_sent_to_a_worker_is_the_same(tmp_path: Path) -> None:
    feed = tmp_path / "feed.csv"
    feed.write_text("type,value\nip,203.0.113.9\n")
    book = RuleBook.of(indicators=[feed])
    found = pickle.loads(pickle.dumps(book))

    assert found == book
    assert found.digest == book.digest


def test_a_book_takes_half_of_its_text_or_less() -> None:
    book = RuleBook.of()
    assert len(pickle.dumps(book)) < sum(len(it.text) for it in book.texts) / 2


def test_a_process_reads_a_book_once_however_often_it_arrives() -> None:
    sent = pickle.dumps(RuleBook.of())
    assert pickle.loads(sent).texts is pickle.loads(sent).texts
