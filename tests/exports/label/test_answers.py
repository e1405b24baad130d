"""The table of answers: whatever happens, what was confirmed is there."""

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpairs.data.compared import read_compared
from kpairs.errors import InputError, KpairsError
from kpairs.exports.web.label.answers import Answer, Answers

NAMES = st.text(
    st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=9
).filter(lambda text: text == text.strip() and text.isprintable())
ANSWERS = st.builds(
    Answer,
    left=NAMES,
    right=NAMES,
    label=st.sampled_from(["left", "right", "tie", ""]),
    judge=NAMES,
    group=st.just("") | NAMES,
    time=st.just("2026-11-30T12:00:00Z"),
    seconds=st.floats(0, 1e4).map(lambda s: f"{s:.1f}"),
    reason=st.sampled_from(["rule", "random", "repeat", "overlap"]),
)
ONE = Answer("a.png", "b,c.png", "left", "anna", "", "2026-11-30T12:00:00Z", "1.5", "random")


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_appended_removed_and_torn_rows(tmp_path_factory, data):
    """Against a list, with kills in a write: a torn last row is cut off, and no other."""
    path, rows = tmp_path_factory.mktemp("table") / "pairs.csv", []
    for _ in range(data.draw(st.integers(1, 4))):
        with Answers(path) as answers:
            assert answers.rows == rows
            for _ in range(data.draw(st.integers(0, 5))):
                if rows and data.draw(st.booleans()):
                    row = data.draw(st.integers(0, len(rows) - 1))
                    assert answers.remove(row) == rows.pop(row)
                else:
                    answers.append(one := data.draw(ANSWERS))
                    rows.append(one)
            before = path.stat().st_size
            answers.append(last := data.draw(ANSWERS))
        kept = data.draw(st.integers(before, path.stat().st_size))
        os.truncate(path, kept)  # as a kill within the write would
        with Answers(path) as answers:
            assert answers.rows in (rows, [*rows, last])
            assert (answers.rows == rows) or kept >= before + len(str(last.label))
            rows = [*answers.rows]


def test_zeros_after_a_power_cut_are_cut_off(tmp_path):
    path = tmp_path / "pairs.csv"
    with Answers(path) as answers:
        answers.append(ONE)
    with open(path, "ab") as file:
        file.write(b"x.png,\0\0\0\0")
    with Answers(path) as answers:
        assert answers.rows == [ONE]
        assert "x.png" in answers.mended
    with Answers(path) as answers:
        assert answers.mended == ""


def test_a_row_whose_end_an_editor_dropped_stays(tmp_path):
    path = tmp_path / "pairs.csv"
    with Answers(path) as answers:
        answers.append(ONE)
    path.write_bytes(path.read_bytes().rstrip())
    with Answers(path) as answers:
        answers.append(ONE)
        assert answers.rows == [ONE, ONE]


def test_only_one_process_writes(tmp_path):
    path = tmp_path / "pairs.csv"
    with Answers(path), pytest.raises(KpairsError, match="another 'kpairs label'"):
        Answers(path)
    Answers(path).close()


def test_a_full_disk_leaves_the_table_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "pairs.csv"
    with Answers(path) as answers:
        answers.append(ONE)
        before, write = path.read_bytes(), os.write

        def full(handle, data):
            write(handle, data[:7])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            answers.append(ONE)
        monkeypatch.undo()
        assert path.read_bytes() == before
        assert answers.rows == [ONE]
        answers.append(ONE)
    with Answers(path) as answers:
        assert answers.rows == [ONE, ONE]


def test_what_another_program_saved_is_not_written_over(tmp_path):
    path = tmp_path / "pairs.csv"
    with Answers(path) as answers:
        answers.append(ONE)
        text = path.read_text()
        path.unlink()
        path.write_text(text + text.splitlines()[1] + "\n")
        for change in (lambda: answers.append(ONE), lambda: answers.remove(0)):
            with pytest.raises(KpairsError, match="changed by another program"):
                change()
    with Answers(path) as answers:
        assert answers.rows == [ONE, ONE]
        path.unlink()
        with pytest.raises(KpairsError, match=r"pairs\.csv is gone, or its folder was moved"):
            answers.append(ONE)
        assert not path.exists()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("left,right,label\na,b,left\n", "a table that 'kpairs label' wrote"),
        (",".join(Answer._fields) + "\na,b,A,x,,,1,rule\n", "row 2: unknown label 'A'"),
    ],
)
def test_tables_that_make_no_sense_are_refused_and_kept(tmp_path, text, match):
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        Answers(path)
    assert path.read_text() == text


def test_every_reader_of_pairs_reads_it(tmp_path):
    for name in ("a.png", "b,c.png"):
        (tmp_path / name).touch()
    with Answers(tmp_path / "pairs.csv") as answers:
        for label in ("left", "right", "tie", ""):
            answers.append(ONE._replace(label=label))
    table = read_compared(tmp_path / "pairs.csv")
    assert table.probability.tolist() == [0, 1, 0.5]
    assert table.unjudged == 1
    assert set(table.judge) == {"anna"}
