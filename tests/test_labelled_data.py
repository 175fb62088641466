from pathlib import Path

import pytest

from geoseg.errors import ConfigError
from geoseg.labelled_data import data_folder


def test_paths_start_where_the_user_says_else_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, told = tmp_path / "named", tmp_path / "told"
    named.mkdir()
    told.mkdir()
    config = tmp_path / "train.yaml"
    monkeypatch.delenv("GEOSEG_DATA", raising=False)
    assert data_folder(None, config) == tmp_path
    monkeypatch.setenv("GEOSEG_DATA", str(told))
    assert data_folder(None, config) == told
    assert data_folder(named, config) == named
    with pytest.raises(ConfigError, match=r"expected a folder as data root, got .*nosuch"):
        data_folder(tmp_path / "nosuch", config)
