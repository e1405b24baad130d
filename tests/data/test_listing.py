"""One lister for every command: what it finds, what it leaves out and says, and copies."""

import os
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpairs.data import listing
from kpairs.data.decode import SUFFIXES
from kpairs.data.listing import find_copies, fingerprint, list_images, natural
from kpairs.errors import InputError


def fill(folder, *names, data=b"x"):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def names(found):
    return [file.relative_to(found.folder).as_posix() for file in found.files]


def test_images_in_natural_order_with_the_folders_in_it(tmp_path):
    fill(tmp_path, "10.png", "2.JPG", "a.jfif", "sub/1.jpe", "sub/deep/x.gif", "sub/deep/x.tif")
    fill(tmp_path, ".hidden.png", ".cache/1.png", "notes.txt", "grades.csv", "b.TXT", "LICENSE")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    found = list_images(tmp_path)
    assert names(found) == [
        *("2.JPG", "10.png", "a.jfif", "sub/1.jpe", "sub/deep/x.gif", "sub/deep/x.tif")
    ]
    left_out = {".txt": 2, ".csv": 1, "hidden": 2, "special file": 1, "file without ending": 1}
    assert found.left_out == left_out
    assert found.said() == (f"{tmp_path}: left out 2 .txt, 1 file without ending, 1 special file")
    flat = list_images(tmp_path, recursive=False)
    assert names(flat) == ["2.JPG", "10.png", "a.jfif"]
    assert flat.left_out == {**left_out, "folder": 2}
    fill(tmp_path / "only", "1.png", "pairs.csv")  # a table of these images
    assert list_images(tmp_path / "only").said() == ""
    with pytest.raises(InputError, match="none: no such file or folder"):
        list_images(tmp_path / "none")


def test_formats_that_need_a_package_are_named_with_it(tmp_path, monkeypatch):
    fill(tmp_path, "1.png", "2.HEIC", "3.heic", "4.txt", "5.png ", "6.PNG ")
    monkeypatch.setattr(listing, "missing_package", lambda e: "pillow-heif" * (e == ".heic"))
    found = list_images(tmp_path)
    assert names(found) == ["1.png"]
    assert found.said() == (
        f"{tmp_path}: left out 2 .heic (install pillow-heif), 2 files whose name ends in a space, "
        "1 .txt"
    )


def test_links_lead_to_each_file_once(tmp_path):
    """Folders that hold themselves, links to files and folders, and links to nothing."""
    fill(tmp_path, "b/1.png", "b/2.png", "elsewhere/3.png")
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "b").rename(root / "b")
    for link, target in (
        *(("a", root / "b"), ("again", root), ("c", tmp_path / "elsewhere")),
        *(("0.png", root / "b" / "2.png"), ("4.png", tmp_path / "elsewhere" / "3.png")),
        *(("gone.png", tmp_path / "nothing"), ("loop.png", root / "loop.png")),
    ):
        (root / link).symlink_to(target)
    found = list_images(root)
    assert names(found) == ["b/1.png", "b/2.png", "c/3.png"]
    assert found.left_out == {"second link": 2, "broken link": 2}
    assert found.said().endswith("left out 2 broken links, 2 second links")
    (tmp_path / "entry").symlink_to(root)
    assert names(list_images(tmp_path / "entry")) == names(found)


def test_names_that_are_no_text(tmp_path):
    name = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.png")
    with open(name, "wb") as file:
        file.write(b"x")
    (found,) = list_images(tmp_path).files
    assert os.fsencode(found) == name
    assert fingerprint(found).startswith("1-")
    os.rename(name, name[:-4] + b".\xff")
    assert "left out 1 ." in list_images(tmp_path).said()


@given(st.lists(st.text("ab01 ", min_size=1, max_size=6)))
def test_natural_order_is_a_total_order_by_value(texts):
    ordered = sorted(set(texts), key=natural)
    assert all(natural(one) < natural(other) for one, other in pairwise(ordered))
    numbers = sorted((f"x{int(t)}" for t in texts if t.strip().isdigit()), key=natural)
    assert [int(n[1:]) for n in numbers] == sorted(int(n[1:]) for n in numbers)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0, 3, 70_000, 200_000]), st.integers(0, 2)), max_size=8),
    st.booleans(),
)
def test_copies_are_files_of_equal_bytes(tmp_path_factory, contents, in_the_middle):
    """Also where size, beginning and end are alike."""
    folder = tmp_path_factory.mktemp("copies")
    files, groups = [], {}
    for i, (size, kind) in enumerate(contents):
        data = bytearray(size)
        if size:
            data[size // 2 if in_the_middle else 0] = kind
        files.append(folder / f"{i}.png")
        files[-1].write_bytes(data)
        groups.setdefault(bytes(data), []).append(files[-1])
    expected = [tuple(group) for group in groups.values() if len(group) > 1]
    assert sorted(find_copies(files)) == sorted(expected)
    if files:
        (folder / "link").symlink_to(files[0])
        assert any(
            {files[0], folder / "link"} <= set(g) for g in find_copies([*files, folder / "link"])
        )
    for group in groups.values():
        assert len({fingerprint(file) for file in group}) == 1


def test_copies_among_files_that_are_gone(tmp_path):
    with pytest.raises(InputError, match=r"none.png: no such image file"):
        find_copies([tmp_path / "none.png"])
    with pytest.raises(InputError, match=r"none.png: cannot be read: No such file"):
        fingerprint(tmp_path / "none.png")


def test_every_ending_is_lower_case_and_known_once():
    assert len(set(SUFFIXES)) == len(SUFFIXES)
    assert all(ending == ending.lower() and ending.startswith(".") for ending in SUFFIXES)
