"""Files that `reconcile` writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker.operate.reconcile.report import try_to_write, whole_file


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    """What fails half way changes nothing; a link stays a link, to the new file."""
    file, link = tmp_path / "differences.csv", tmp_path / "last.csv"
    file.write_text("before")
    link.symlink_to(file)
    with pytest.raises(UnicodeEncodeError), whole_file(link) as text:
        text.writelines(["half", "\ud800"])
    assert file.read_text() == "before"
    with whole_file(link) as text:
        text.write("after")
    assert (link.is_symlink(), file.read_text()) == (True, "after")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["differences.csv", "last.csv"]


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    """`--csv >(gzip > FILE)`, or a device: it is never replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        try_to_write(pipe)
        with whole_file(pipe) as text:
            text.write("rows")
        assert (os.read(reader, 100), pipe.is_fifo()) == (b"rows", True)
    finally:
        os.close(reader)
