"""Files written whole, and locks."""

import threading

import pytest

from fasnb.tools.files import locked, replace_file


def test_a_failed_write_leaves_the_earlier_file_and_nothing_beside_it(tmp_path):
    path = replace_file(tmp_path / "new" / "a.txt", lambda to: to.write_text("whole"))

    def fails(to):
        to.write_text("ha")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_file(path, fails)
    assert [(each.name, each.read_text()) for each in path.parent.iterdir()] == [("a.txt", "whole")]


def test_who_finds_a_lock_held_says_so_once_and_waits(tmp_path):
    said, done = [], []

    def other():
        with locked(tmp_path / "lock", waiting=lambda: said.append("waiting")):
            done.append("other")

    with locked(tmp_path / "lock", waiting=lambda: said.append("never")):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.3)
        assert said == ["waiting"] and thread.is_alive()
        done.append("this")
    thread.join(10)
    assert done == ["this", "other"] and said == ["waiting"]


def test_a_lock_is_free_after_an_error(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "lock"):
        raise KeyError
    with locked(tmp_path / "lock", waiting=lambda: pytest.fail("still held")):
        pass
