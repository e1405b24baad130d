"""Atomic writes: the old file or the new one, never half of either."""

import os
import resource
import stat
import subprocess
import sys

import pytest

from kpairs.files import atomic_path, write_json, write_rows, write_text


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
        "from kpairs.files import write_text\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "write_text(sys.argv[1], 'x' * 1000)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert file.read_text().splitlines() == ["epoch", "1"]
    assert list(tmp_path.iterdir()) == [file]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100


def test_files_have_the_users_permissions(tmp_path):
    plain, atomic = tmp_path / "plain", tmp_path / "atomic"
    plain.write_text("")
    write_text(atomic, "")
    assert stat.S_IMODE(os.stat(atomic).st_mode) == stat.S_IMODE(os.stat(plain).st_mode)
