"""The code in the README and in docs/ runs as it stands there."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from servers import free_port

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: str, language: str) -> list[str]:
    return [code for kind, code in BLOCK.findall((ROOT / document).read_text()) if kind == language]


@pytest.fixture
def shell(tmp_path: Path):
    """Run a block as bash would, stopping at the first command that fails; gan-serve is the one under test."""

    def run(code: str) -> str:
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "BENTOML_DO_NOT_TRACK": "True",
        }
        process = subprocess.Popen(
            ["bash", "-euc", code], cwd=tmp_path, env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=300)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        assert process.returncode == 0, output
        return output

    return run


@pytest.mark.parametrize("document", ["README.md", "docs/checkpoints.md"])
def test_python_blocks_run(document, tmp_path, monkeypatch):
    found = blocks(document, "python")
    assert found
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gan_serve").symlink_to(ROOT / "gan_serve")
    names: dict[str, object] = {}
    for code in found:
        exec(compile(code, document, "exec"), names)
    if document == "README.md":
        assert len(names["images"]) == 4
        assert len(names["frames"]) == 48
        assert {len(images) for images in names["rows"].values()} == {8}
        assert names["pixels"].shape == (5, 28, 28, 1)
        assert len(names["quick"]) == 64
        assert (tmp_path / "seed.png").exists()
    else:
        assert names["images"].shape == (1, 28, 28, 1)


def test_the_command_line_block_runs(cli, tmp_path, monkeypatch):
    """Each command in this process, which saves their starts; `make test-slow` runs the block in bash."""
    monkeypatch.chdir(tmp_path)
    output = ""
    for line in _block("gan-serve verify grid.png", without="curl").splitlines():
        program, *words = shlex.split(line, comments=True)
        outcome = cli(*words)
        assert (program, outcome.code) == ("gan-serve", 0), (line, outcome.err)
        output += outcome.out
    _check_the_command_line_block(output, tmp_path)


@pytest.mark.slow
def test_the_command_line_block_runs_in_bash(shell, tmp_path):
    _check_the_command_line_block(shell(_block("gan-serve verify grid.png", without="curl")), tmp_path)


def _check_the_command_line_block(output: str, folder: Path) -> None:
    assert "verified, bit-equal" in output
    assert {path.name for path in folder.iterdir()} == {
        "digits.png", "grid.png", "pictures", "sevens.png", "sheet.png", "strip.png", "walk.gif"
    }  # fmt: skip


def test_the_http_block_runs(shell, tmp_path):
    code = _block("curl").replace("3000", str(free_port()))
    output = shell(f"trap 'kill $(jobs -p)' EXIT\n{code}")
    assert "verified, bit-equal" in output
    assert (tmp_path / "served.gif").read_bytes().startswith(b"GIF89a")


@pytest.mark.slow
@pytest.mark.long(118)
@pytest.mark.usefixtures("fashion_mnist")
def test_the_training_block_runs(shell, tmp_path):
    """As typed, but for the length: a few steps instead of hours, a few images instead of 10,000."""
    code = _block("gan-serve train").replace("--run-dir runs/fashion", "--run-dir runs/fashion --kimg 0.3")
    code = code.replace("--write", "--write --images 300 --no-dial")
    shell(code)
    assert (tmp_path / "mine.png").exists()
    assert (tmp_path / "my-fashion" / "config.json").exists()


def test_every_make_target_of_the_readme_exists():
    named = set(re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named == {"demo", "test", "serve", "docs", "gpu"}
    assert named <= set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_command_of_the_documents_exists(cli):
    commands = set(
        re.findall(r"^\w[\w-]+", cli("--help").out.split("Commands:")[1].replace("\n  ", "\n"), re.MULTILINE)
    )
    for document in ("README.md", "docs/training.md", "docs/serving.md"):
        used = set(re.findall(r"gan-serve ([a-z]+)\b", (ROOT / document).read_text()))
        assert used - {"is"} <= commands, document


def _block(containing: str, without: str = "\0") -> str:
    [found] = [code for code in blocks("README.md", "bash") if containing in code and without not in code]
    assert shlex.split(found, comments=True)
    return found
