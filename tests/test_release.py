"""What a release says of itself agrees with what it holds."""

import re
import tomllib
from pathlib import Path

import lcnn_flow as lf

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_citation_and_changelog_name_the_version_of_the_library():
    assert f"version: {lf.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^## .*\b{re.escape(lf.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_every_dependency_of_those_who_use_the_library_has_a_lower_bound():
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [*PROJECT["project"]["dependencies"], *(entry for name in extras for entry in extras[name])]
    assert [entry for entry in asked if not re.match(r"lcnn_flow\[|jax\[cuda", entry) and ">=" not in entry] == []


def test_the_console_script_is_a_function_that_exists():
    module, name = PROJECT["project"]["scripts"]["lcnn-flow"].split(":")
    assert callable(getattr(__import__(module, fromlist=[name]), name))


def test_every_shipped_configuration_can_be_named_from_another_folder(tmp_path, monkeypatch):
    from experiments.shipped import configurations, found

    monkeypatch.chdir(tmp_path)
    assert {file.name for file in configurations()} == {file.name for file in (ROOT / "configs").glob("*.toml")}
    for file in configurations():
        assert found(Path(file.stem)) == found(Path(file.name)) == file


def test_a_file_of_the_user_comes_before_a_shipped_configuration_of_its_name(tmp_path, monkeypatch):
    from experiments.shipped import found

    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart.toml").write_text("")
    assert found(Path("quickstart.toml")) == Path("quickstart.toml")
    assert found(Path("elsewhere/quickstart")) == Path("elsewhere/quickstart")
