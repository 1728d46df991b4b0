"""A lock is held by one process at a time, whatever name its file is given, and leaves nothing behind."""

import os
import subprocess
import sys

import filelock
import pytest

from experiments.running import locks as locks_module
from experiments.running.locks import Locks


def test_a_lock_that_is_held_is_not_taken_and_is_free_once_released(tmp_path):
    first, second = Locks(tmp_path / "locks"), Locks(tmp_path / "locks")
    lock = first.take("000000")
    assert lock is not None
    assert second.take("000000") is None
    assert second.held("000000")
    lock.release()
    lock.release()
    again = second.take("000000")
    assert again is not None
    again.release()


def test_a_lock_file_that_gets_the_name_of_the_next_batch_stays_locked(tmp_path):
    first, second = Locks(tmp_path), Locks(tmp_path)
    lock = first.take("000000")
    assert lock is not None
    inode = (tmp_path / "000000.lock").stat().st_ino
    first.finish(lock)
    following = first.take("000001")
    assert following is lock
    assert (tmp_path / "000001.lock").stat().st_ino == inode
    assert not (tmp_path / "000000.lock").exists()
    assert second.take("000001") is None
    following.release()
    assert second.take("000001") is not None


def test_a_spare_file_never_takes_the_place_of_a_lock_of_another_process(tmp_path):
    first, second = Locks(tmp_path), Locks(tmp_path)
    mine, theirs = first.take("000000"), second.take("000001")
    assert mine is not None
    assert theirs is not None
    first.finish(mine)
    assert first.take("000001") is None
    assert second.held("000001")
    first.put_away()
    assert [file.name for file in tmp_path.iterdir()] == ["000001.lock"]


def test_a_spare_file_that_was_removed_by_another_process_locks_nothing(tmp_path):
    first, second = Locks(tmp_path), Locks(tmp_path)
    mine = first.take("000000")
    assert mine is not None
    first.finish(mine)
    (tmp_path / "000000.lock").unlink()
    theirs = second.take("000000")
    assert theirs is not None
    assert first.take("000001") is None  # it has the file of the other process
    theirs.release()
    assert first.take("000001") is not None


def test_a_file_removed_while_it_is_opened_is_opened_again(tmp_path, monkeypatch):
    flock, removed = locks_module.fcntl.flock, []

    def remove_first(file, operation):
        if not removed:
            removed.append((tmp_path / "000000.lock").unlink())
        flock(file, operation)

    monkeypatch.setattr(locks_module.fcntl, "flock", remove_first)
    locks = Locks(tmp_path)
    assert locks.take("000000") is not None
    assert locks.held("000000")


def test_the_lock_of_a_killed_process_is_free_under_both_of_its_names(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from experiments.running.locks import Locks\n"
        "locks = Locks(Path(sys.argv[1])); locks.finish(locks.take('000000'))\n"
        "os.unlink = lambda path: os.kill(os.getpid(), 9)\n"
        "locks.take('000001')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)])
    assert done.returncode == -9
    assert {file.name for file in tmp_path.iterdir()} == {"000000.lock", "000001.lock"}
    locks = Locks(tmp_path)
    for name in ("000000", "000001"):
        lock = locks.take(name)
        assert lock is not None
        lock.release()


def test_locks_of_filelock_and_these_exclude_each_other(tmp_path):
    locks = Locks(tmp_path)
    with filelock.FileLock(tmp_path / "000000.lock"):
        assert locks.take("000000") is None
    lock = locks.take("000000")
    assert lock is not None
    with pytest.raises(filelock.Timeout):
        filelock.FileLock(tmp_path / "000000.lock").acquire(timeout=0)
    lock.release()


def test_a_file_system_without_locks_has_what_stands_in_for_them(tmp_path, monkeypatch):
    class Stand:
        def __init__(self, path, **_):
            self.path = path

        def acquire(self, timeout):
            assert timeout == 0

        def release(self):
            os.unlink(self.path)

    def missing(*_):
        raise OSError(locks_module.errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(locks_module.fcntl, "flock", missing)
    monkeypatch.setattr(locks_module.filelock, "FileLock", Stand)
    locks = Locks(tmp_path)
    lock = locks.take("000000")
    assert isinstance(lock, Stand)
    locks.finish(lock)
    assert not list(tmp_path.iterdir())
