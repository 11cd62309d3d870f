"""Folders of generators: what is there, what comes with the package, and what only looks like a repository."""

from pathlib import Path
from typing import Any

import pytest

from inout_generators.common.hub import fetched


def test_the_users_folder_comes_first(tmp_path: Path) -> None:
    (tmp_path / "ours" / "surfaces").mkdir(parents=True)
    (tmp_path / "surfaces").mkdir()
    assert fetched("surfaces", shipped=tmp_path / "ours") == tmp_path / "ours" / "surfaces"
    assert fetched(tmp_path / "surfaces", shipped=tmp_path / "ours") == tmp_path / "surfaces"


@pytest.mark.parametrize("name", ["nothing", "./nothing/here", "/nothing/here", "~/nothing", "a/b/c"])
def test_a_name_that_is_none_of_a_repository_is_refused_without_asking_the_hub(
    name: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("the hub was asked"))
    (tmp_path / "surfaces").mkdir()
    with pytest.raises(FileNotFoundError, match=r"is no folder, none .*\(surfaces\), and no repository"):
        fetched(name, shipped=tmp_path)
    with pytest.raises(FileNotFoundError, match="is no folder, and no repository"):
        fetched(name)


def test_a_repository_is_fetched_at_its_revision_without_pickles(tmp_path: Path, monkeypatch: Any) -> None:
    asked = {}

    def download(name: str, **options: Any) -> str:
        asked[name] = options
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert fetched("owner/name", "v1", more=["*.toml"]) == tmp_path
    assert asked == {"owner/name": {"revision": "v1", "allow_patterns": ["*.json", "*.safetensors", "*.toml"]}}
