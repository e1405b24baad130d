"""Atomic writes: the old file or the new one, never half of either."""

import os
import resource
import signal
import stat
import subprocess
import sys
import time

import pytest

from kpairs.errors import InputError, KpairsError
from kpairs.files import (
    atomic_path,
    check_output,
    read_bytes,
    read_json,
    write_json,
    write_rows,
    write_text,
)


def test_a_failed_write_keeps_the_old_file(tmp_path):
    file = tmp_path / "metrics.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    with pytest.raises(RuntimeError):
        _write_half(file)
    assert file.read_text() == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [file]


def _write_half(file):
    with atomic_path(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def test_a_full_disk_keeps_the_old_file(tmp_path):
    """A process whose files may not grow past 100 bytes, as if the disk were full."""
    file = tmp_path / "history.csv"
    write_rows(file, [{"epoch": 1}])
    script = (
        "import resource, signal, sys\n"
        "from kpairs.files import check_output, write_text\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "write_text(sys.argv[1], 'x' * 1000)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large; nothing of the new file is kept" in done.stderr
    assert str(file) in done.stderr.splitlines()[-1]
    assert file.read_text().splitlines() == ["epoch", "1"]
    assert list(tmp_path.iterdir()) == [file]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100


def test_files_have_the_users_permissions(tmp_path):
    plain, atomic = tmp_path / "plain", tmp_path / "atomic"
    plain.write_text("")
    write_text(atomic, "")
    assert stat.S_IMODE(os.stat(atomic).st_mode) == stat.S_IMODE(os.stat(plain).st_mode)


def test_what_killed_writes_left_goes_with_the_next(tmp_path):
    """But not what a process that still runs is about to rename."""
    file = tmp_path / "a [1].json"
    other = tmp_path / ".a [1]-note.json"
    other.write_text("mine")
    children = []
    for _ in range(4):
        ready, told = os.pipe()
        child = os.fork()
        if child == 0:
            with atomic_path(file) as temporary:
                temporary.write_text("half")
                os.write(told, b"x")
                time.sleep(60)
            os._exit(0)
        os.read(ready, 1)
        children.append(child)
    assert len(list(tmp_path.iterdir())) == 5
    for child in children[:3]:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    write_text(file, "whole")
    assert len(list(tmp_path.iterdir())) == 3  # the file, the other one, the one that is written
    os.kill(children[3], signal.SIGKILL)
    os.waitpid(children[3], 0)
    write_text(file, "whole")
    assert set(tmp_path.iterdir()) == {file, other}


def test_only_regular_files_of_bounded_size_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "pipe", "no regular file"),
        ("/dev/zero", "no regular file"),
        (tmp_path, "no regular file"),
        (tmp_path / "none", "no such file"),
    ):
        with pytest.raises(InputError, match=f"cannot read the metrics: {message}"):
            read_json(path, "metrics")
    (tmp_path / "large").write_bytes(b" " * 11)
    with pytest.raises(InputError, match="at most 10 bytes, received 11"):
        read_bytes(tmp_path / "large", "metrics", 10)
    (tmp_path / "deep").write_text("[" * 200_000)
    with pytest.raises(InputError, match="expected the metrics in JSON"):
        read_json(tmp_path / "deep", "metrics")


def test_a_users_work_is_never_replaced(tmp_path):
    """Inputs and answers never, other files by force alone."""
    image, asked = tmp_path / "a.png", tmp_path / "ask.csv"
    check_output(image, [image])
    image.write_bytes(b"a photograph")
    (tmp_path / "link.png").symlink_to(image)
    for place in (image, tmp_path / "link.png", tmp_path / "." / "a.png"):
        with pytest.raises(KpairsError, match="this command reads that file"):
            check_output(place, [tmp_path / "none", image], force=True)
    with pytest.raises(KpairsError, match="exists already; add --force"):
        check_output(image)
    check_output(image, force=True)
    asked.write_text("left;right;label\na.png;b.png;\n")
    check_output(asked, force=True)
    for text in (
        "left;right;label\na.png;b.png;\na.png;b.png;left\n",
        "left,right\na.png,b.png,tie\n",
        "file\tgrade\na.png\t3\n",
        '{"left": "a.png"}\n{"label": "left"}\n',
        "x,y,winner\na.png,b.png,x\n",
    ):
        asked.write_text(text)
        with pytest.raises(KpairsError, match=r"ask.csv, row [23]: holds answers"):
            check_output(asked, force=True)
