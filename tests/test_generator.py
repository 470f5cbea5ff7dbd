import doctest
import importlib
import inspect
import io
import pkgutil
import pydoc
import traceback

import numpy as np
import pytest
import torch
from PIL import Image

import gan_serve
from gan_serve import Generator, UnknownLabel, UnknownModel
from gan_serve.errors import CannotWrite, DeviceUnavailable, InvalidOption, InvalidSeeds, InvalidTruncation
from gan_serve.sampling.result import Samples


def test_the_package_names_its_checkpoints():
    assert "fashion-dcgan" in gan_serve.list_models()


def test_generate_gives_pillow_images_with_receipts():
    images = gan_serve.generate("fashion-dcgan", n=3, seed=7)
    assert [image.info["gan_serve"]["seed"] for image in images] == [7, 8, 9]
    assert {(image.size, image.mode) for image in images} == {((28, 28), "L")}


def test_generate_gives_numpy():
    pixels = gan_serve.generate("fashion-dcgan", seeds="0-3,10", output="numpy")
    assert pixels.shape == (5, 28, 28, 1)
    assert pixels.dtype == np.uint8


def test_seeds_that_were_drawn_are_reported():
    [image] = gan_serve.generate("fashion-dcgan")
    [again] = gan_serve.generate("fashion-dcgan", seeds=image.info["gan_serve"]["seed"])
    assert image.tobytes() == again.tobytes()


def test_a_seed_is_an_image_whatever_the_batch(generator):
    of_64 = generator.generate(seeds="100-163", output="numpy")
    of_7 = generator.generate(n=7, seed=100, output="numpy")
    reversed_130 = generator.generate(seeds=list(range(229, 99, -1)), output="numpy")
    for index in range(7):
        alone = generator.generate(seeds=100 + index, output="numpy")[0]
        np.testing.assert_array_equal(alone, of_7[index])
        np.testing.assert_array_equal(alone, of_64[index])
        np.testing.assert_array_equal(alone, reversed_130[129 - index])


def test_different_seeds_are_different_images(generator):
    pixels = generator.generate(n=64, seed=0, output="numpy")
    assert len({image.tobytes() for image in pixels}) == 64


def test_latents_stand_for_seeds(generator):
    z = np.random.RandomState(7).standard_normal(100)[None]
    np.testing.assert_array_equal(
        generator.generate(latents=z, output="numpy"), generator.generate(seeds=7, output="numpy")
    )


def test_truncation_one_is_bit_equal_to_none_and_half_moves_every_image(generator):
    plain = generator.generate(n=64, seed=0, output="numpy")
    np.testing.assert_array_equal(generator.generate(n=64, seed=0, truncation=1.0, output="numpy"), plain)
    halved = generator.generate(n=64, seed=0, truncation=0.5, output="numpy")
    assert (halved != plain).any(axis=(1, 2, 3)).all()


def test_truncation_zero_draws_the_mean_for_every_seed(generator):
    pixels = generator.generate(n=3, seed=0, truncation=0, output="numpy")
    assert (pixels == pixels[0]).all()


@pytest.mark.parametrize("truncation", [1.5, -1, float("nan")])
def test_truncation_out_of_range_is_refused(generator, truncation):
    with pytest.raises(InvalidTruncation):
        generator.generate(truncation=truncation)


def test_interpolate_counts_frames_and_begins_at_the_first_seed(generator):
    frames = generator.interpolate([0, 5, 9], steps=4, output="numpy")
    assert len(frames) == 9
    keys = generator.generate(seeds=[0, 5, 9], output="numpy")
    np.testing.assert_array_equal(frames[[0, 4, 8]], keys)
    assert len(gan_serve.interpolate("fashion-dcgan", [0, 5, 9], steps=4, loop=True)) == 12


def test_slerp_and_lerp_differ_between_the_keys(generator):
    slerp = generator.interpolate([0, 5], steps=2, output="numpy")
    lerp = generator.interpolate([0, 5], steps=2, method="lerp", output="numpy")
    assert (slerp[1] != lerp[1]).any()


def test_a_label_for_a_model_without_labels_is_refused(generator):
    with pytest.raises(UnknownLabel, match="has no labels"):
        generator.generate(label="Sneaker")


def test_an_unknown_model_names_the_nearest():
    with pytest.raises(UnknownModel, match="fashion-dcgam") as error:
        gan_serve.generate("fashion-dcgam")
    assert "fashion-dcgan" in error.value.hint


@pytest.mark.parametrize("model", ["", None, "a\0b", "x" * 5000, 7])
def test_nonsense_for_a_model_is_refused(model):
    with pytest.raises((InvalidOption, UnknownModel)) as error:
        gan_serve.generate(model)
    assert "fashion-dcgan, " in error.value.hint  # the names that there are, and no list as Python prints it
    assert "[" not in error.value.hint


@pytest.mark.parametrize(
    ("call", "given", "nearest"),
    [
        (Generator.from_pretrained, {"precison": "int8"}, "precision"),
        (Generator.push_to_hub, {"privat": True}, "private"),
        (Generator.save_pretrained, {"dir": "x"}, "directory"),
    ],
)
def test_a_wrong_keyword_of_a_generator_names_the_nearest_one(generator, call, given, nearest):
    with pytest.raises(TypeError, match=f"Did you mean '{nearest}'"):
        call(*(["fashion-dcgan"] if nearest == "precision" else [generator]), **given)


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        ({"n": 0}, InvalidSeeds),
        ({"n": 2, "seeds": [1]}, InvalidSeeds),
        ({"latents": np.zeros((1, 100)), "seed": 3}, InvalidOption),
        ({"output": "jpeg"}, InvalidOption),
        ({"output": ["pil"]}, InvalidOption),
    ],
)
def test_contradictions_are_refused(generator, wish, error):
    with pytest.raises(error):
        generator.generate(**wish)


def test_cuda_where_there_is_none_raises_with_the_fix(capfd):
    if torch.cuda.is_available():
        assert Generator.from_pretrained("fashion-dcgan", device="cuda").device == "cuda"
        return
    with pytest.raises(DeviceUnavailable) as error:
        Generator.from_pretrained("fashion-dcgan", device="cuda")
    assert "gan-serve[cuda]" in error.value.hint
    assert not capfd.readouterr().err


def test_an_unknown_precision_lists_what_there_is():
    with pytest.raises(InvalidOption, match="fp32"):
        Generator.from_pretrained("fashion-dcgan", precision="int4")
    with pytest.raises(InvalidOption, match="a number of 16610 bits"):
        gan_serve.generate("fashion-dcgan", output=10**5000)


@pytest.mark.parametrize(
    "options",
    [
        {"device": ["cpu"]},
        {"device": None},
        {"precision": ["fp32"]},
        {"threads": 0},
        {"threads": "2"},
        {"threads": 10**6},
    ],
)
def test_options_of_a_wrong_type_are_refused(options):
    with pytest.raises(InvalidOption):
        Generator.from_pretrained("fashion-dcgan", **options)
    if "threads" not in options:
        with pytest.raises(InvalidOption):
            gan_serve.generate("fashion-dcgan", **options)


def test_save_pretrained_copies_every_byte(generator, checkpoint, tmp_path):
    generator.save_pretrained(tmp_path / "copy")
    files = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "copy").iterdir()} == files
    copy = Generator.from_pretrained(tmp_path / "copy")
    assert copy.digest == generator.digest
    with pytest.raises(CannotWrite, match="already exists"):
        generator.save_pretrained(tmp_path / "copy")


def test_a_generator_tells_what_it_is(generator):
    facts = (generator.z_dim, generator.c_dim, generator.class_names, generator.labels)
    assert facts == (100, 0, (), ())
    assert (generator.img_resolution, generator.img_channels, generator.device) == (28, 1, "cpu")
    assert "fashion-dcgan" in repr(generator)


def test_a_changed_directory_is_loaded_anew(checkpoint, tmp_path, generator):
    generator.save_pretrained(tmp_path / "model")
    first = gan_serve.generate(tmp_path / "model", seeds=1)[0]
    (tmp_path / "model" / "generator.onnx").write_bytes(b"other")
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(gan_serve.DigestMismatch):
        gan_serve.generate(tmp_path / "model", seeds=1)
    assert first.size == (28, 28)


def test_all_names_the_public_face():
    assert all(hasattr(gan_serve, name) for name in gan_serve.__all__)
    public = {name for name, value in vars(gan_serve).items() if name[0] != "_" and not inspect.ismodule(value)}
    assert public - {"TYPE_CHECKING"} <= set(gan_serve.__all__)


def test_a_saved_png_keeps_its_receipt_and_other_formats_still_work(tmp_path):
    [image] = gan_serve.generate("fashion-dcgan", seeds=3)
    image.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        assert '"seed": 3' in opened.info["gan_serve"]
    image.save(tmp_path / "a.jpg")
    buffer = io.BytesIO()
    image.resize((56, 56)).save(buffer, "PNG")


def test_samples_hold_what_made_them(generator):
    samples = generator.sample(2, seed=4, truncation=0.8)
    assert isinstance(samples, Samples)
    assert (samples.seeds, samples.truncation, samples.labels, len(samples)) == ([4, 5], 0.8, None, 2)


def test_the_package_shows_its_public_names_alone():
    assert sorted(dir(gan_serve)) == sorted(gan_serve.__all__)
    assert "Client" in dir(gan_serve)


@pytest.mark.parametrize("call", ["generate", "condition", "interpolate"])
def test_help_shows_every_argument_and_functions_have_those_of_the_generator(call):
    function, method = getattr(gan_serve, call), getattr(Generator, call)
    arguments = dict(inspect.signature(function).parameters)
    assert not [each for each in arguments.values() if each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
    own = {"model", "device", "precision"}
    assert own < set(arguments)
    expected = [str(each) for name, each in inspect.signature(method).parameters.items() if name != "self"]
    assert [str(each) for name, each in arguments.items() if name not in own] == expected
    page = pydoc.render_doc(function)
    for name in arguments:
        assert name in page
    for part in ("Args:", "Returns:", "Raises:", ">>>"):
        assert part in page


def test_a_wrong_keyword_names_the_nearest_one(generator):
    with pytest.raises(TypeError, match=r"generate\(\) got an unexpected .* Did you mean 'truncation'\?"):
        gan_serve.generate("fashion-dcgan", truncaton=0.5)
    with pytest.raises(TypeError, match="Did you mean 'label'"):
        generator.generate(lable="Bag")
    with pytest.raises(TypeError, match="Did you mean 'method'"):
        gan_serve.interpolate("fashion-dcgan", [0, 5], metod="slerp")


def test_an_error_shows_its_hint():
    with pytest.raises(UnknownModel) as error:
        gan_serve.generate("fashion-dcgam")
    assert "Did you mean 'fashion-dcgan'?" in str(error.value)
    assert "Did you mean 'fashion-dcgan'?" in traceback.format_exception(error.value)[-1]


MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(gan_serve.__path__, "gan_serve.")
    if not name.startswith(
        ("gan_serve.service", "gan_serve.training", "gan_serve.exports", "gan_serve.cli.__main__", "gan_serve.__main__")
    )
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_the_runtime_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
