import json

import pytest

from inout_aug.cli._record import Record

SETTINGS = {"steps": 9, "sizes": (3, 4)}


def test_it_goes_on_where_it_was(tmp_path):
    path = tmp_path / "new" / "runs.json"
    first = Record(path, SETTINGS)
    assert not path.exists()
    first.add({"ratio": 0.5, "seed": 0}, score=0.25)
    first.add({"ratio": 0.5, "seed": 1}, score=0.75)
    again = Record(path, SETTINGS)
    assert {"ratio": 0.5, "seed": 1} in again
    assert {"ratio": 0.5, "seed": 2} not in again
    assert {"other": 1} not in again
    assert [row["score"] for row in again.select(ratio=0.5)] == [0.25, 0.75]
    assert [each.name for each in path.parent.iterdir()] == ["runs.json"]


def test_other_settings_are_refused(tmp_path):
    Record(tmp_path / "runs.json", SETTINGS).add({"seed": 0}, score=1)
    with pytest.raises(ValueError, match=r"other settings: steps was 9 and is 8; device was None and is 'cpu'"):
        Record(tmp_path / "runs.json", {"sizes": [3, 4], "steps": 8, "device": "cpu"})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": []}', "\x00"])
def test_a_strangers_file_is_refused_and_stays(tmp_path, text):
    (tmp_path / "runs.json").write_text(text)
    with pytest.raises(ValueError, match="holds no measurements of this command"):
        Record(tmp_path / "runs.json", SETTINGS)
    assert (tmp_path / "runs.json").read_text() == text


def test_a_kill_while_writing_loses_one_measurement_only(tmp_path, monkeypatch):
    record = Record(tmp_path / "runs.json", SETTINGS)
    record.add({"seed": 0}, score=1)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        record.add({"seed": 1}, score=2)
    assert [row["seed"] for row in json.loads((tmp_path / "runs.json").read_text())["rows"]] == [0]
