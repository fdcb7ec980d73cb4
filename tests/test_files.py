"""Files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pynn_portability.files import replacing


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    with replacing(tmp_path / "file") as temporary:
        temporary.touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("interruption", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("existing", [True, False])
def test_nothing_half_written_is_left(
    tmp_path: Path, existing: bool, interruption: type[BaseException]
) -> None:
    path = tmp_path / "file"
    if existing:
        path.write_text("old")
    with pytest.raises(interruption), replacing(path) as temporary:
        temporary.write_text("ne")
        raise interruption
    assert names(tmp_path) == (["file"] if existing else [])
    assert not existing or path.read_text() == "old"


def test_an_error_before_anything_is_written_is_not_hidden(tmp_path: Path) -> None:
    path = tmp_path / "no such folder" / "file"
    with pytest.raises(FileNotFoundError, match="no such folder"), replacing(path) as temporary:
        temporary.write_text("new")
