"""The share of the images that is held out from training where the data has no test split."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from odd_files import idx, png, write

from gan_serve.errors import RunError
from gan_serve.training import choose
from gan_serve.training.choose import plan_run
from gan_serve.training.config import make_config, read_config
from gan_serve.training.data.load import load_images
from gan_serve.training.loop import train
from gan_serve.training.run_info import read_run_info

PIXELS = np.random.default_rng(0).integers(0, 256, (120, 8, 8, 3), np.uint8)
SMALL = {"resolution": 8, "batch_size": 8, "kimg": 0.016, "ticks_per_evaluation": 0}


def held_out(source) -> tuple[int, int]:
    """Return the number of training images, and of those that are held out."""
    data = load_images(source, holdout=None)
    rest = load_images(source, split="holdout", holdout=data.holdout) if data.holdout else ()
    return len(data), len(rest)


def test_a_tenth_is_held_out_and_the_run_says_and_records_it(tmp_path, capsys):
    np.savez(tmp_path / "photos.npz", images=PIXELS)
    source = tmp_path / "photos.npz"
    assert held_out(source) == (108, 12)
    train(make_config("mlp-gan", SMALL | {"data": str(source)}), tmp_path / "run")
    assert "12 of the 120 images are held out from training" in capsys.readouterr().out
    assert read_config(tmp_path / "run" / "config.json").holdout == 0.1
    assert read_run_info(tmp_path / "run").data.n == 108


@pytest.mark.parametrize("before", [120, 60])
def test_a_run_that_resumes_with_other_images_says_so_whatever_their_number(tmp_path, before):
    """60 images hold nothing out by default, and 120 a tenth."""
    source = tmp_path / "photos.npz"
    np.savez(source, images=PIXELS[:before])
    config = make_config("mlp-gan", SMALL | {"data": str(source)})
    train(config, tmp_path / "run", quiet=True)
    np.savez(source, images=PIXELS[: 180 - before])
    with pytest.raises(RunError, match="other images"):
        train(config, tmp_path / "run", resume=True, quiet=True)


def test_zero_trains_on_all(tmp_path, monkeypatch):
    np.savez(tmp_path / "photos.npz", images=PIXELS)
    settings = SMALL | {"data": str(tmp_path / "photos.npz"), "holdout": 0}
    train(make_config("mlp-gan", settings), tmp_path / "run", quiet=True)
    assert read_run_info(tmp_path / "run").data.n == 120
    monkeypatch.setattr(choose, "images_per_second", lambda *_: 1000.0)  # takes seconds; test_choose.py measures
    assert plan_run(None, {"data": settings["data"], "holdout": 0, "kimg": 1.0}).config.holdout == 0


def test_few_images_are_all_trained_on(tmp_path):
    np.savez(tmp_path / "few.npz", images=PIXELS[:99])
    assert held_out(tmp_path / "few.npz") == (99, 0)


@pytest.mark.parametrize("kind", ["folders", "keras", "idx", "parquet"])
def test_a_source_with_a_test_split_holds_nothing_out(tmp_path, kind):
    if kind == "folders":
        write(tmp_path, *(f"train/{n}.png" for n in range(120)), *(f"test/{n}.png" for n in range(9)))
    elif kind == "keras":
        np.savez(tmp_path / "set.npz", x_train=PIXELS, x_test=PIXELS[:9])
    elif kind == "idx":
        (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(PIXELS[..., 0]))
        (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(PIXELS[:9, ..., 0]))
    else:
        for split, count in (("train", 120), ("test", 9)):
            table = pa.table({"image": [{"bytes": png(n)} for n in range(count)]})
            pq.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    assert held_out(tmp_path) == (120, 0)


def test_the_summary_of_a_source_says_it(tmp_path, cli):
    np.savez(tmp_path / "photos.npz", images=PIXELS)
    outcome = cli("data", tmp_path / "photos.npz", "--json")
    assert "training holds out 0.1 of the images" in json.loads(outcome.out)["notes"][-1]


def test_a_run_of_an_earlier_version_has_nothing_held_out(tmp_path):
    config = json.loads(make_config("mlp-gan", {"data": "photos"}).model_dump_json())
    del config["holdout"], config["legacy"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_config(tmp_path / "config.json").holdout == 0
