"""Plans: parts are the same images as the whole, and what is wrong is refused before anything is drawn."""

from __future__ import annotations

import io

import numpy as np
import pytest
from conditional_checkpoint import level, write_conditional
from PIL import Image

from gan_serve import Generator, UnknownLabel
from gan_serve.atomic_files import write_atomically
from gan_serve.checkpoint.files import read_config
from gan_serve.errors import InvalidOption
from gan_serve.images.pixels import from_pil
from gan_serve.images.png import encode_png
from gan_serve.sampling.formats import encode
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.sampling.receipt import RECEIPT_KEY
from gan_serve.sampling.request import RequestBuilder
from gan_serve.sampling.walks import make_walk, walk_latents
from gan_serve.verify import verify_image

PLANS = {
    "seeds": lambda g: g.sample_request(9, seed=3, truncation=0.7),
    "latents": lambda g: g.sample_request(latents=latents_from_seeds(range(9), g.z_dim)),
    "slerp": lambda g: g.walk_request(make_walk([0, 5, 9], steps=4)),
    "loop": lambda g: g.walk_request(make_walk([0, 5, 9], steps=3, loop=True, method="lerp")),
    "part of a walk": lambda g: g.walk_request(make_walk([0, 5, 9], steps=6, start=2, stop=11)),
}


@pytest.mark.parametrize("what", PLANS)
def test_parts_are_the_same_images_and_receipts_as_the_whole(generator, what):
    plan = PLANS[what](generator)
    assert len(plan) == 9
    whole = plan.samples(generator.run(plan))
    parts = [part.samples(generator.run(part)) for part in plan.parts(4)]
    assert [len(part) for part in parts] == [4, 4, 1]
    np.testing.assert_array_equal(np.concatenate([part.pixels for part in parts]), whole.pixels)
    receipts = [part.receipt(index) for part in parts for index in range(len(part))]
    assert receipts == [whole.receipt(index) for index in range(9)]


def test_plans_of_several_requests_are_drawn_in_one_batch(generator):
    plans = [
        generator.sample_request(2, seed=1, truncation=0.5),
        generator.sample_request(seeds=9),
        generator.walk_request(make_walk([3, 4], steps=2)),
    ]
    pixels = np.split(generator.run(*plans), np.cumsum([len(plan) for plan in plans])[:-1])
    for plan, drawn in zip(plans, pixels, strict=True):
        np.testing.assert_array_equal(drawn, generator.run(plan))


def test_parts_of_a_sheet_keep_their_labels(tmp_path):
    conditional = Generator.from_pretrained(write_conditional(tmp_path))
    plan = conditional.condition_request(3, seed=5)
    part = plan.part(2, 5)
    samples = part.samples(conditional.run(part))
    assert (samples.seeds, samples.labels) == ([7, 5, 6], ["Bag", "Ankle boot", "Ankle boot"])
    assert samples.pixels[:, 0, 0, 0].tolist() == [level(7, 0), level(5, 1), level(6, 1)]


def test_a_part_of_a_walk_names_its_frames_and_verifies(generator, tmp_path):
    whole = generator.sample_walk([0, 5, 9], steps=4, loop=True)
    part = generator.sample_walk([0, 5, 9], steps=4, loop=True, start=5, stop=8)
    np.testing.assert_array_equal(part.pixels, whole.pixels[5:8])
    walks = [part.receipt(index).walk for index in range(3)]
    assert [(walk.seeds, walk.frame) for walk in walks] == [([5, 9], 1), ([5, 9], 2), ([5, 9], 3)]
    for name, content in {"frame": part.png(1), "strip": part.grid_png(), "grid": part.grid_png(columns=2)}.items():
        path = write_atomically(tmp_path / f"{name}.png", content)
        assert verify_image(path).max_difference == 0
    walk = verify_image(tmp_path / "strip.png").receipt.walk
    assert (walk.seeds, walk.start, walk.stop) == ([5, 9], 1, 4)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_each_frame_of_a_walk_verifies_by_two_keys_and_its_place(generator, tmp_path, loop, steps):
    samples = generator.sample_walk([0, 5, 9], steps=steps, loop=loop)
    for index in range(len(samples)):
        walk = samples.receipt(index).walk
        assert (len(walk.seeds), walk.steps, walk.loop) == (2, steps, False)
        assert verify_image(write_atomically(tmp_path / "frame.png", samples.png(index))).max_difference == 0


def test_a_receipt_that_names_all_keys_of_a_walk_still_verifies(generator, tmp_path):
    samples = generator.sample_walk([0, 5, 9], steps=4, loop=True)
    frame = samples.walk.model_copy(update={"frame": 9})
    receipt = samples.receipt(9).model_copy(update={"walk": frame}).seal(samples.pixels[9])  # as versions before wrote
    content = encode_png(samples.pixels[9], {RECEIPT_KEY: receipt.as_json()})
    assert verify_image(write_atomically(tmp_path / "frame.png", content)).max_difference == 0


def test_a_part_that_is_the_whole_has_the_same_receipt(generator):
    whole = generator.sample_walk([0, 5], steps=3)
    part = generator.sample_walk([0, 5], steps=3, start=0, stop=4)
    assert encode(part, "png") == encode(whole, "png")


@pytest.mark.parametrize("method", ["slerp", "lerp"])
@pytest.mark.parametrize("loop", [False, True])
def test_every_part_of_a_walk_has_the_latents_of_the_whole(method, loop):
    seeds = [0, 5, 9, 4]
    whole = walk_latents(make_walk(seeds, steps=3, method=method, loop=loop), 6)
    for start in range(len(whole)):
        for stop in range(start + 1, len(whole) + 1):
            part = make_walk(seeds, steps=3, method=method, loop=loop, start=start, stop=stop)
            np.testing.assert_array_equal(walk_latents(part, 6), whole[start:stop])


@pytest.mark.parametrize(
    ("start", "stop"), [(-1, None), (4, None), (2, 2), (3, 2), (0, 5), (1.5, None), (0, "2"), (True, 2)]
)
def test_frames_that_a_walk_does_not_have_are_refused(generator, start, stop):
    with pytest.raises(InvalidOption) as error:
        generator.walk_request(make_walk([0, 5], steps=3, start=start, stop=stop))
    assert error.value.hint


def test_a_very_long_walk_is_drawn_in_parts(generator):
    plan = generator.walk_request(make_walk([0, 5], steps=5_000_000))
    assert len(plan) == 5_000_001
    last = plan.part(5_000_000, 5_000_001)
    np.testing.assert_array_equal(generator.run(last), generator.generate(seeds=5, output="numpy"))
    with pytest.raises(InvalidOption, match="too many for one call"):
        generator.sample_walk([0, 5], steps=5_000_000)


def test_a_walk_is_a_strip_unless_columns_are_given(generator):
    samples = generator.sample_walk([0, 5], steps=5)
    for columns, size in {None: (6 * 30 + 2, 32), 3: (3 * 30 + 2, 2 * 30 + 2)}.items():
        with Image.open(io.BytesIO(encode(samples, "png", columns=columns))) as image:
            assert image.size == size
            np.testing.assert_array_equal(from_pil(image)[2:30, 2:30], samples.pixels[0])


def test_a_planner_needs_no_network(checkpoint, generator):
    planner = RequestBuilder(read_config(checkpoint))
    plan = planner.sample_request(3, seed=1)
    samples = plan.samples(generator.run(plan))
    assert samples.grid_png() == generator.sample(3, seed=1).grid_png()
    with pytest.raises(UnknownLabel, match="has no labels"):
        planner.condition_request()
