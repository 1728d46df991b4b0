"""A lock is held by one process at a time, and is free again when its process ends."""

import subprocess
import sys

import filelock

from experiments.running.locks import Locks


def test_a_lock_that_is_held_is_not_taken_and_is_free_once_released(tmp_path):
    first, second = Locks(tmp_path / "locks"), Locks(tmp_path / "locks")
    lock = first.take("000000")
    assert lock is not None
    assert second.take("000000") is None
    assert second.held("000000")
    lock.release()
    lock.release()
    assert not second.held("000000")
    again = second.take("000000")
    assert again is not None
    again.release()


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from experiments.running.locks import Locks\n"
        "lock = Locks(Path(sys.argv[1])).take('000000'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    locks = Locks(tmp_path)
    assert not locks.held("000000")
    assert locks.take("000000") is not None


def test_a_lock_file_that_was_removed_is_made_again(tmp_path):
    locks = Locks(tmp_path)
    first = locks.take("000000")
    assert first is not None
    first.release()
    locks.discard()
    assert not locks.held("000000")
    assert not list(tmp_path.iterdir())
    assert locks.take("000000") is not None


def test_any_program_that_uses_filelock_excludes_the_runner(tmp_path):
    with filelock.FileLock(tmp_path / "000000.lock"):
        assert Locks(tmp_path).take("000000") is None
