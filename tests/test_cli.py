"""The command line: what a user types, sees and finds on disk."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_serve.checkpoint.bundled import list_models
from gan_serve.cli.describe import quality
from gan_serve.cli.output import write_folder
from gan_serve.images.pixels import from_pil
from gan_serve.sampling.seeds import parse_seeds
from gan_serve.verify import verify_image


def test_generate_writes_a_grid_that_verifies(cli, tmp_path, generator):
    out = tmp_path / "grid.png"
    outcome = cli("generate", "fashion-dcgan", "--seeds", "0-63", "--out", out)
    assert (outcome.code, outcome.out) == (0, f"{out}\n")
    assert re.match(rf"64 images of fashion-dcgan in [\d.]+ s: {out}\n", outcome.err)
    with Image.open(out) as image:
        assert image.size == (8 * 30 + 2, 8 * 30 + 2)
        second_row = from_pil(image)[32:60, 2:30]
    np.testing.assert_array_equal(second_row, generator.generate(seeds=8, output="numpy")[0])
    outcome = cli("verify", out)
    assert outcome.code == 0
    assert outcome.out == f"{out}: verified, bit-equal, seeds 0-63 of fashion-dcgan\n"


def test_generate_writes_one_png_a_seed(cli, tmp_path, generator):
    assert cli("generate", "fashion-dcgan", "-n", 3, "--seed", 7, "--out-dir", tmp_path / "out").code == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["00000-seed7.png", "00001-seed8.png", "00002-seed9.png"]
    with Image.open(tmp_path / "out" / names[2]) as image:
        np.testing.assert_array_equal(from_pil(image), generator.generate(seeds=9, output="numpy")[0])


def test_seeds_that_were_drawn_are_told(cli, tmp_path):
    outcome = cli("generate", "fashion-dcgan", "-n", 2, "--out", tmp_path / "a.npz")
    again = shlex.split(outcome.err.partition("Again: gan-serve ")[2])
    assert np.load(tmp_path / "a.npz")["seeds"].tolist() == parse_seeds(again[again.index("--seeds") + 1])
    first = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").unlink()
    assert cli(*again).code == 0
    assert (tmp_path / "a.npz").read_bytes() == first


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "fashion-cgan", "-n", 3, "--label", "Bag", "--truncation", 0.7, "--columns", 1],
        ["condition", "fashion-cgan", "-n", 2, "--label", "T-shirt/top", "--label", 3, "--precision", "int8"],
        ["interpolate", "fashion-dcgan", "--seeds", "0,5", "--steps", 2, "--loop", "--method", "lerp", "--scale", 2],
    ],
    ids=lambda words: words[0],
)
def test_the_command_that_is_told_makes_the_same_file(cli, tmp_path, words):
    out = tmp_path / "a file.png"
    again = shlex.split(cli(*words, "--out", out).err.partition("Again: gan-serve ")[2])
    first = out.read_bytes()
    out.unlink()
    assert cli(*again).code == 0
    assert out.read_bytes() == first


def test_pixels_are_enlarged(cli, tmp_path, generator):
    for suffix in ("png", "jpg"):
        out = tmp_path / f"large.{suffix}"
        assert cli("generate", "fashion-dcgan", "--seeds", 3, "--scale", 4, "--out", out).code == 0
        with Image.open(out) as image:
            pixels = from_pil(image)
        expected = generator.generate(seeds=3, output="numpy")[0].repeat(4, 0).repeat(4, 1)
        assert pixels.shape == (112, 112, 1)
        assert np.abs(pixels.astype(int) - expected).max() <= (0 if suffix == "png" else 16)
    assert "verified, bit-equal" in cli("verify", tmp_path / "large.png").out
    assert (
        "scale must be a whole number from 1 to 64" in cli("generate", "fashion-dcgan", "--scale", 0, "--out", out).err
    )
    assert (
        "The pixels of npz are not enlarged"
        in cli("generate", "fashion-dcgan", "--scale", 2, "--out", tmp_path / "a.npz").err
    )


def test_an_image_goes_to_standard_output(generator):
    words = [sys.executable, "-m", "gan_serve", "generate", "fashion-dcgan", "--seeds", "3", "--out", "-"]
    content = subprocess.run(words, capture_output=True, check=True).stdout
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(from_pil(image), generator.generate(seeds=3, output="numpy")[0])


def test_ctrl_c_keeps_the_images_that_are_written(tmp_path, generator, monkeypatch, capsys):
    calls = []

    def run(request):
        calls.append(len(request))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return type(generator).run(generator, request)

    monkeypatch.setattr(generator, "run", run, raising=False)
    with pytest.raises(KeyboardInterrupt):
        write_folder(generator, generator.sample_request(n=300, seed=0), tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 128
    assert f"128 of 300 images are in {tmp_path / 'out'}" in capsys.readouterr().err
    assert verify_image(tmp_path / "out" / "00127-seed127.png").max_difference == 0


def test_several_images_are_verified(cli, tmp_path):
    words = ["--seeds", "0-2", "--out-dir", tmp_path / "out"]
    assert cli("generate", "fashion-dcgan", *words).code == 0
    files = sorted((tmp_path / "out").iterdir())
    outcome = cli("verify", *files)
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        *(f"{file}: verified, bit-equal, seed {seed} of fashion-dcgan" for seed, file in enumerate(files)),
        "3 of 3 images verified",
    ]
    files[1].write_bytes(b"no picture")
    outcome = cli("verify", *files)
    assert (outcome.code, outcome.out.splitlines()[-1]) == (1, "2 of 3 images verified")
    assert f"{files[1]}: FAILED" in outcome.err
    assert json.loads(cli("verify", files[0], "--receipt").out.partition("... ")[2])["seed"] == 0


def test_interpolate_writes_an_animation(cli, tmp_path):
    out = tmp_path / "walk.gif"
    assert cli("interpolate", "fashion-dcgan", "--seeds", "0,5,9", "--steps", 4, "--loop", "--out", out).code == 0
    with Image.open(out) as animation:
        assert animation.n_frames == 12
        assert animation.info["loop"] == 0


def test_condition_names_the_classes_beside_the_rows(cli, tmp_path):
    plain, named = tmp_path / "plain.png", tmp_path / "named.png"
    words = ("condition", "fashion-cgan", "--seeds", "0-3", "--label", "Bag", "--label", "Ankle boot")
    assert cli(*words, "--out", plain).code == 0
    assert cli(*words, "--names", "--out", named).code == 0
    with Image.open(plain) as sheet, Image.open(named) as picture:
        large = np.asarray(sheet).repeat(2, 0).repeat(2, 1)
        assert np.array_equal(np.asarray(picture)[:, -large.shape[1] :], large)
        names = np.asarray(picture)[:, : -large.shape[1]] < 128
        assert names[len(names) // 2 :].sum() > names[: len(names) // 2].sum() > 0
        assert "gan_serve" not in picture.info
    refused = cli(*words, "--names", "--columns", 2, "--out", named)
    assert refused.code == 1
    assert "a row for each label" in refused.err


def test_verify_refuses_an_altered_pixel(cli, tmp_path):
    out = tmp_path / "a.png"
    cli("generate", "fashion-dcgan", "--seeds", 1, "--out", out)
    with Image.open(out) as image:
        text = image.text
        pixels = np.array(image)
    pixels[0, 0] ^= 1
    from gan_serve.images.png import encode_png

    out.write_bytes(encode_png(pixels[..., None], text))
    outcome = cli("verify", out)
    assert outcome.code == 1
    assert "altered" in outcome.err


def test_models_info_and_recipes(cli):
    lines = cli("models").out.splitlines()
    assert [line.split()[0] for line in lines] == [*list_models(), *list_models("translate")]
    assert len({line.index(" gray ") for line in lines if " gray  " in line}) == 1  # aligned
    told = {model["name"]: model for model in json.loads(cli("models", "--json").out)}
    assert (told["fashion-cgan"]["class_names"][8], told["fashion-cgan"]["precisions"]) == ("Bag", ["fp32", "int8"])
    lines = cli("info", "fashion-cgan").out.splitlines()
    assert len(lines) == 10
    assert re.search(r"^Speed here +[\d,]+ images per second", "\n".join(lines), re.MULTILINE)
    assert "close to real images: FD" in quality({"fd10k_a_test": 0.1, "fd_floor10k_a_test": 0.09})
    assert quality({"made_up": 1}) == "not measured; run gan-serve evaluate"
    facts = json.loads(cli("info", "fashion-dcgan", "--json").out)
    assert (facts["z_dim"], facts["license"], facts["parity"]["bound"]) == (100, "mit", 1)
    lines = cli("info", "fashion-dcgan", "--all").out.splitlines()
    keys = [line.split()[0] for line in lines]
    assert keys.index("metrics.mean_gradient_1000_seeds") < keys.index("files.generator.onnx.sha256")
    column = {line.index(line.split()[1], len(key)) for key, line in zip(keys, lines, strict=True) if line.split()[1:]}
    assert column == {max(map(len, keys)) + 2}  # every value begins in the same column
    assert "dcgan-28" in cli("recipes").out


def test_doctor_checks_every_checkpoint(cli):
    outcome = cli("doctor")
    assert outcome.code == 0
    n = len(list_models())
    assert f"\n{n} of {n} models verified on cpu" in outcome.out
    assert outcome.out.count("No GPU is used") <= 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["generate", "fashion-dcgam", "--seeds", "1"], "Did you mean 'fashion-dcgan'?"),
        (["generate", "fashion-dcgan", "--seeds", "5-1"], 'Write "1-5"'),
        (["generate", "fashion-dcgan", "--seeds", "a"], "'a' is not a seed"),
        (["generate", "fashion-dcgan", "--seeds", "-1"], "'-1' is not a seed"),
        (["generate", "fashion-dcgan", "--seeds", "4294967296"], "out of range"),
        (["generate", "fashion-dcgan", "--seeds", "0-9999999"], "more than 100,000 seeds"),
        (["generate", "fashion-dcgan", "-n", "10000000"], "more than 100,000 seeds"),
        (["generate", "fashion-dcgan", "-n", "0"], "n must be at least 1"),
        (["generate", "fashion-dcgan", "-n", "2", "--seeds", "1"], "not both"),
        (["generate", "fashion-dcgan", "--seeds", "1", "--truncation", "1.5"], "from 0 to 1"),
        (["generate", "fashion-dcgan", "--seeds", "1", "--truncation", "-1"], "from 0 to 1"),
        (["generate", "fashion-dcgan", "--seeds", "1", "--truncation", "nan"], "from 0 to 1"),
        (["generate", "fashion-dcgan", "--seeds", "1", "--label", "Bag"], "has no labels"),
        (["generate", "fashion-dcgan", "--seeds", "1", "--precision", "int4"], "choose from: fp32"),
        (["generate", "fashion-dcgan", "--seeds", "1", "--device", "tpu"], "choose from: auto, cpu, cuda"),
        (["generate", "fashion-dcgan", "--seeds", "1-2", "--columns", "0"], "at least one column"),
        (["interpolate", "fashion-dcgan", "--seeds", "1"], "at least two seeds"),
        (["interpolate", "fashion-dcgan", "--seeds", "1,2", "--method", "slurp"], "'slerp'"),
        (["interpolate", "fashion-dcgan", "--seeds", "1,2", "--steps", "0"], "0 steps"),
        (["interpolate", "fashion-dcgan", "--seeds", "1,2", "--fps", "nan"], "fps"),
    ],
)
def test_bad_input_is_one_clear_error_and_no_file(cli, tmp_path, arguments, says):
    outcome = cli(*arguments, "--out", tmp_path / "a.png")
    assert outcome.code == 1
    assert says in outcome.err
    assert outcome.err.startswith("Error: ")
    assert len(outcome.err.splitlines()) <= 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "--run-dir", "{tmp}/run"], "needs --data"),
        (["train", "--recipe", "dcgan", "--data", "x", "--run-dir", "{tmp}/run"], "dcgan-28"),
        (["train", "--recipe", "dcgan-28", "--data", "{tmp}", "--run-dir", "{tmp}/run"], "holds no images"),
        (["train", "--recipe", "dcgan-28", "--data", "x", "--run-dir", "{tmp}/run", "--set", "kimg"], "key=value"),
        (["train", "--recipe", "dcgan-28", "--data", "x", "--run-dir", "{tmp}/run", "--set", "lr=1"], "'lr'"),
        (["export", "{tmp}", "--out", "{tmp}/out"], "has no training run"),
        (["verify", "{tmp}/none.png"], "cannot be read"),
        (
            ["generate", "fashion-dcgan", "--seeds", "1", "--out", "{tmp}/a.bmp"],
            "does not have the suffix of a supported format",
        ),
        (["generate", "fashion-dcgan", "--seeds", "1"], "either --out or --out-dir"),
        (["info", "{tmp}"], "has no config.json"),
    ],
)
def test_other_mistakes_are_one_clear_error_too(cli, tmp_path, arguments, says):
    outcome = cli(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert outcome.code == 1
    assert says in outcome.err
    assert not list(tmp_path.iterdir())


def test_a_port_in_use_is_one_clear_error(cli):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        outcome = cli("serve", "--port", taken.getsockname()[1])
    assert outcome.code == 1
    assert "in use" in outcome.err


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    """The kernel refuses files beyond 1 KiB, as a full disk would."""
    command = [sys.executable, "-m", "gan_serve.cli", "generate", "fashion-dcgan", "--seeds", "0-63", "--out"]
    limited = ["bash", "-c", 'ulimit -f 1; exec "$@"', "bash", *command, str(tmp_path / "grid.png")]
    outcome = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("Error: Cannot write")
    assert not list(tmp_path.iterdir())


def test_drawing_never_imports_torch(tmp_path):
    code = f"""
import sys
from pathlib import Path
import gan_serve
from gan_serve.cli import main
gan_serve.generate("fashion-dcgan", seeds=1)[0].save({str(tmp_path / "a.png")!r})
sys.argv = ["gan-serve", "recipes"]
try:
    main()
except SystemExit as exit:
    print("exit", exit.code, "torch" in sys.modules)
"""
    outcome = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert outcome.stdout.endswith("exit 0 False\n")


def test_the_package_imports_without_the_heavy_parts():
    code = "import sys, gan_serve; print({'torch', 'onnxruntime', 'bentoml', 'fastapi'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (("generate", "fashion-cgan", "--class", "Bag"), "Did you mean '--label'?"),
        (("condition", "fashion-cgan", "--classes", "Bag"), "Did you mean '--label'?"),
        (("generate", "fashion-cgan", "--output", "x.png"), "Did you mean '--out'?"),
        (("train", "--data", "x", "--recipe", "dcgan"), "Did you mean 'dcgan-28' or 'dcgan-64'?"),
    ],
)
def test_what_has_another_name_here_is_suggested_by_its_meaning(words, suggestion, cli):
    outcome = cli(*words)
    assert outcome.code != 0
    assert suggestion in outcome.err


def test_the_help_shows_every_summary_whole(cli):
    listed = cli("--help").out.split("Commands:")[1].strip().splitlines()
    assert len(listed) >= 12
    assert all(line.endswith(".") and not line.endswith("...") for line in listed), listed


def test_the_tab_key_completes_as_the_readme_says():
    assert (
        'eval "$(_GAN_SERVE_COMPLETE=bash_source gan-serve)"' in (Path(__file__).parents[1] / "README.md").read_text()
    )

    def printed(**environment: str) -> str:
        code = "import sys; sys.argv = ['gan-serve']; from gan_serve.cli import main; main()"
        variables = os.environ | environment
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables).stdout

    for shell in ("bash", "zsh", "fish"):
        assert f"_GAN_SERVE_COMPLETE={shell}_complete" in printed(_GAN_SERVE_COMPLETE=f"{shell}_source")
    words = {"COMP_WORDS": "gan-serve eval", "COMP_CWORD": "1"}
    assert printed(_GAN_SERVE_COMPLETE="bash_complete", **words) == "plain,evaluate\n"
