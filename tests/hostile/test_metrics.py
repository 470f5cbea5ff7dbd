"""Metrics that claim anything: ``gan-serve info`` shows what can be true, or one clear error."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from clear_errors import one_clear_error
from click.testing import CliRunner

from gan_serve import InvalidCheckpoint
from gan_serve.cli import cli

FD, FLOOR = "fd10k_cnn-a_test", "fd_floor10k_cnn-a_test"


def with_metrics(checkpoint: Path, text: str) -> Path:
    """Return the checkpoint with these metrics, and their digest in its config."""
    config = json.loads((checkpoint / "config.json").read_text())
    config["files"]["metrics.json"] |= {"sha256": hashlib.sha256(text.encode()).hexdigest(), "size": len(text)}
    (checkpoint / "metrics.json").write_text(text)
    (checkpoint / "config.json").write_text(json.dumps(config))
    return checkpoint


@pytest.mark.parametrize(
    "text",
    [
        f'{{"{FD}": 1e308, "{FLOOR}": 1e-308}}',
        f'{{"{FD}": 1{"0" * 400}, "{FLOOR}": 1}}',
        f'{{"{FD}": 1, "{FLOOR}": 5e-324}}',
        f'{{"{FD}": 1, "{FLOOR}": -1}}',
        f'{{"{FD}": 1, "{FLOOR}": 0}}',
        '{"precision10k_cnn-a_test": 1e300, "recall10k_cnn-a_test": true}',
    ],
)
def test_a_number_of_any_size_is_shown_or_left_out(tiny, text):
    result = CliRunner().invoke(cli, ["info", str(with_metrics(tiny, text))], catch_exceptions=False)
    assert result.exit_code == 0
    assert "Quality" in result.output


@pytest.mark.parametrize("text", ["[1]", "7", '"good"', "null"])
def test_metrics_that_name_nothing_are_one_clear_error(tiny, text):
    with one_clear_error(InvalidCheckpoint, "does not map names to numbers"):
        CliRunner().invoke(cli, ["info", str(with_metrics(tiny, text))], catch_exceptions=False)
