from importlib.metadata import EntryPoint

import pytest
import typer
from typer.testing import CliRunner

from inout_aug.cli import _installed

runner = CliRunner()
MODULE = """
import typer

app = typer.Typer()


@app.command()
def one() -> None:
    \"\"\"Say one.\"\"\"
    typer.echo("one")


@app.command()
def two() -> None:
    typer.echo("two")


def single(word: str) -> None:
    \"\"\"Say a word.\"\"\"
    typer.echo(word)
"""


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """A command with one subcommand of its own, and those that these entry points add."""

    def build(**points):
        (tmp_path / "third_party.py").write_text(MODULE)
        (tmp_path / "third_party_broken.py").write_text("import a_package_that_is_not_there")
        monkeypatch.syspath_prepend(tmp_path)
        found = [EntryPoint(name, value, _installed.GROUP) for name, value in points.items()]
        monkeypatch.setattr(_installed, "entry_points", lambda group: found if group == _installed.GROUP else [])
        app = typer.Typer()

        @app.command()
        def own() -> None:
            typer.echo("own")

        @app.command()
        def other() -> None:
            typer.echo("other")

        _installed.add_installed(app)
        return lambda *arguments: runner.invoke(app, list(arguments))

    return build


def test_apps_and_functions_are_added(cli):
    call = cli(many="third_party:app", say="third_party:single")
    assert call("many", "two").output == "two\n"
    assert call("say", "hello").output == "hello\n"
    assert call("own").output == "own\n"
    for words in ("many", "say", "Say a word."):
        assert words in call("--help").output


@pytest.mark.parametrize("value", ["third_party_broken:app", "third_party:nothing", "no_such_module:app"])
def test_a_broken_one_says_so_when_it_is_called_and_leaves_the_others_alone(cli, value):
    call = cli(bad=value, say="third_party:single")
    assert call("own").output == "own\n"
    assert call("say", "hello").output == "hello\n"
    assert "cannot be loaded" in call("--help").output
    result = call("bad")
    assert result.exit_code == 2
    assert value in result.output
    assert "Error:" in result.output


def test_the_names_of_the_own_commands_are_taken(cli):
    assert cli(own="third_party:single")("own").output == "own\n"
