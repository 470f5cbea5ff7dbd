"""Broken and hostile files of weights: one clear line each, nothing run, nothing written."""

from __future__ import annotations

import pytest
from hostile_weights import FILES, RAN


@pytest.mark.parametrize("write", FILES, ids=lambda write: write.__name__)
@pytest.mark.filterwarnings("ignore")  # of torch, while it writes the file
def test_a_hostile_file_is_refused_in_one_line(write, tmp_path, cli, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    monkeypatch.chdir(source)
    path = write(source)
    before = sorted(source.iterdir())
    outcome = cli("import", path, "--out", tmp_path / "out", "--license", "mit", "--precisions", "fp32")
    assert (outcome.code, outcome.out) == (1, "")
    message, *hint = outcome.err.rstrip("\n").split("\n")
    assert message.startswith("Error: ")
    assert FILES[write] in message
    assert len(hint) == 1
    assert len(message) < 400
    assert outcome.err.replace("\n", "").isprintable()
    assert sorted(source.iterdir()) == before
    assert sorted(tmp_path.iterdir()) == [source]
    assert RAN not in [each.name for each in source.iterdir()]
