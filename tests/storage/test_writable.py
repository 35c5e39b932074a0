import os
from pathlib import Path

import pytest

from onethinker.core.errors import ConfigError
from onethinker.storage.atomic import check_writable


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_place_that_may_not_be_changed_is_named_with_the_folder_above(tmp_path, monkeypatch, kind):
    check_writable(tmp_path / "new" / "there", kind)
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path)
    with pytest.raises(ConfigError, match=rf"^--output {tmp_path}/new/there: .* because {tmp_path} is not writable"):
        check_writable(tmp_path / "new" / "there", kind, flag="--output")


def test_a_file_is_replaced_so_that_its_folder_must_allow_it_too(tmp_path, monkeypatch):
    (tmp_path / "there").touch()
    check_writable(tmp_path / "there", "file")
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path)
    with pytest.raises(ConfigError, match="is not writable"):
        check_writable(tmp_path / "there", "file")


def test_the_root_of_all_folders_is_one():
    with pytest.raises(ConfigError, match="it is a folder"):
        check_writable(Path("/"), "file")
