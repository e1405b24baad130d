"""One training on images of one's own opens, checks, builds and decodes everything once."""

import journey_script


def test_everything_is_done_once(tmp_path, monkeypatch):
    monkeypatch.setenv("KPAIRS_DATA", str(tmp_path / "cache"))
    counts = journey_script.counts(tmp_path)
    assert counts.pop("recipe validations") <= 2
    assert counts == {"sources opened": 1, "network builds": 1, "image decodes": 30}
