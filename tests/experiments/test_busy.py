"""Commands that take long print what they do; quick commands print nothing."""

import threading
import time

from experiments.running import busy


def _wait_for(told, capsys, words):
    """Appends the printed text to `told` until it contains all words."""
    end = time.monotonic() + 30
    while not all(word in told[0] for word in words) and time.monotonic() < end:
        told[0] += capsys.readouterr().err
        time.sleep(0.01)


def test_a_long_piece_of_work_is_told_of_again_and_again_as_it_changes(monkeypatch, capsys):
    monkeypatch.setattr(busy, "_FIRST", 0.01)
    monkeypatch.setattr(busy, "_NEXT", 0.01)
    told = [""]
    with busy.Busy("counting") as work:
        _wait_for(told, capsys, ["counting ("])
        work.say("weighing")
        _wait_for(told, capsys, ["weighing ("])
    assert "counting (" in told[0]
    assert "weighing (" in told[0]
    assert all(line.endswith(" s)") for line in told[0].splitlines())


def test_a_quick_one_says_nothing_and_leaves_no_thread(capsys):
    before = threading.active_count()
    with busy.Busy("counting"):
        pass
    assert threading.active_count() == before
    assert capsys.readouterr().err == ""
