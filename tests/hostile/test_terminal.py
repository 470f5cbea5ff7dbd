"""Text of other people does not control the terminal, and what is offered to be copied into a shell is quoted."""

from __future__ import annotations

import json

import pytest
from clear_errors import one_clear_error
from click.testing import CliRunner
from tiny_checkpoint import write_checkpoint

from gan_serve import InvalidCheckpoint
from gan_serve.checkpoint.files import read_config
from gan_serve.cli import cli, main
from gan_serve.errors import MAX_TEXT, DataError, UnknownLabel
from gan_serve.sampling.formats import folder_names
from gan_serve.terminal import escape

EVIL = "\x1b]0;owned\x07\x1b[31m\r\x08\x9b\u202e"


def test_controls_are_escaped_and_lines_and_letters_stay():
    assert escape(EVIL).isprintable()
    assert escape("Größe\t日本\nzwei") == "Größe\t日本\nzwei"


@pytest.mark.parametrize("arguments", [["info"], ["info", "--json"], ["verify"], ["generate", "--out", "a.png"]])
def test_no_error_controls_the_terminal(monkeypatch, capfd, arguments):
    monkeypatch.setattr("sys.argv", ["gan-serve", *arguments, f"no{EVIL}model"])
    with pytest.raises(SystemExit):
        main()
    out, err = capfd.readouterr()
    assert all(line.isprintable() for line in (out + err).splitlines())
    assert "owned" in err


def test_an_error_has_no_controls_from_python_either():
    error = DataError(f"{EVIL} has no column.", f"Did you mean {EVIL!s}?")
    assert all(text.isprintable() for text in (str(error), error.message, error.hint, *map(str, error.args)))


def test_an_error_does_not_fill_the_terminal():
    error = DataError("x" * 100_000, "y" * 100_000)
    assert len(str(error)) < 2 * MAX_TEXT + 10


def test_a_label_of_5000_digits_is_one_clear_error():
    with one_clear_error(UnknownLabel, "has no label"):
        CliRunner().invoke(
            cli, ["generate", "fashion-cgan", "--label", "9" * 5000, "--out", "a.png"], catch_exceptions=False
        )


def test_a_key_of_a_config_does_not_control_the_terminal(tiny, monkeypatch, capfd):
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps(config | {EVIL: 1}))
    monkeypatch.setattr("sys.argv", ["gan-serve", "info", str(tiny)])
    with pytest.raises(SystemExit):
        main()
    assert all(line.isprintable() for line in capfd.readouterr().err.splitlines())


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a'b", 'a"b', "a;rm", "$(id)", "-rf", "--out", ".hidden", "..", "a/b", "é", "a\n", EVIL, "a" * 101],
)
def test_a_name_of_a_model_is_plain(tmp_path, name):
    with pytest.raises(InvalidCheckpoint, match="name"):
        read_config(write_checkpoint(tmp_path / "named", name=name))


@pytest.mark.parametrize("option", ["--out", "--out-dir"])
def test_an_option_is_no_file_to_write(tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["generate", "fashion-dcgan", option, "--seeds"])
    assert result.exit_code == 2
    assert "looks like an option" in result.output
    assert not list(tmp_path.iterdir())


def test_no_folder_of_a_label_is_an_option():
    assert folder_names(["-rf", "--help", "T-shirt"]) == {"-rf": "_-rf", "--help": "_--help", "T-shirt": "T-shirt"}
