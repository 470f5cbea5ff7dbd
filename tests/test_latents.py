import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gan_serve.errors import InvalidLatents, InvalidOption, InvalidSeeds, InvalidTruncation
from gan_serve.sampling.latents import check_latents, latents_from_seeds
from gan_serve.sampling.seeds import choose_seeds, parse_seeds
from gan_serve.sampling.truncation import check_truncation, truncate
from gan_serve.sampling.walks import lerp, make_walk, slerp, walk_latents


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        (7, [7]),
        ([0, 5, 9], [0, 5, 9]),
        ("0-3,10", [0, 1, 2, 3, 10]),
        (" 4 , 2-3 ", [4, 2, 3]),
        ("4294967295", [2**32 - 1]),
        (np.array([3, 1]), [3, 1]),
        (range(2, 4), [2, 3]),
        (np.array(3), [3]),
        (np.int64(3), [3]),
        ("5,5", [5, 5]),
    ],
)
def test_seeds_are_read_alike_from_text_ints_and_lists(seeds, expected):
    assert parse_seeds(seeds) == expected


@pytest.mark.parametrize(
    ("seeds", "says"),
    [
        ("5-1", "backwards"),
        ("a", "'a' is not a seed"),
        ("", "is not a seed"),
        ("1,,2", "is not a seed"),
        ("-1", "is not a seed"),
        ("1.5", "is not a seed"),
        ("١", "is not a seed"),
        ("0-3-5", "is not a seed"),
        (-1, "out of range"),
        (2**32, "out of range"),
        ("4294967296", "out of range"),
        ("9" * 5000, "is not a seed"),
        (1.5, "whole number"),
        (True, "whole number"),
        ([1, "2"], "whole number"),
        (None, "whole number"),
        ([], "no seeds"),
        (b"0-3", "whole number"),
        ({3: 1}, "whole number"),
        ({3, 4}, "whole number"),
        (np.array(3.5), "whole number"),
        (10**400, "a number of 1329 bits is out of range"),
        ("0-9999999", "more than 100,000"),
        ("0-99999,0-99999", "more than 100,000"),
        (range(10_000_000), "more than 100,000"),
    ],
)
def test_bad_seeds_are_one_clear_error(seeds, says):
    with pytest.raises(InvalidSeeds, match=says) as error:
        parse_seeds(seeds)
    assert len(str(error.value)) < 200
    assert error.value.hint


def test_n_and_seed_mean_a_run_of_seeds():
    assert choose_seeds(n=3, seed=7) == [7, 8, 9]
    assert choose_seeds(seed=7) == [7]
    assert choose_seeds(seeds="7-9") == [7, 8, 9]


def test_without_a_seed_one_is_drawn():
    drawn = choose_seeds(n=50)
    assert drawn == list(range(drawn[0], drawn[0] + 50))
    assert len({choose_seeds()[0] for _ in range(20)}) > 1


@pytest.mark.parametrize(
    "wish",
    [
        {"n": 0},
        {"n": -1},
        {"n": 10**7},
        {"n": 2, "seeds": [1]},
        {"seed": 1, "seeds": [1]},
        {"n": 2, "seed": 2**32 - 1},
    ],
)
def test_impossible_numbers_of_images_are_refused(wish):
    with pytest.raises(InvalidSeeds):
        choose_seeds(**wish)


def test_z_of_a_seed_is_numpys_frozen_stream():
    z = latents_from_seeds([0, 123, 2**32 - 1], 100)
    assert z.dtype == np.float32
    for row, seed in zip(z, [0, 123, 2**32 - 1], strict=True):
        np.testing.assert_array_equal(row, np.random.RandomState(seed).standard_normal(100).astype(np.float32))
    # The stream itself, written down: a NumPy that changed it would change every image.
    np.testing.assert_array_equal(z[0, :3], np.array([1.7640524, 0.4001572, 0.978738], np.float32))


def test_an_odd_z_dim_does_not_leak_into_the_next_seed():
    np.testing.assert_array_equal(latents_from_seeds([1, 2], 3)[1], latents_from_seeds([2], 3)[0])


def test_truncation_one_is_the_identity_and_less_shrinks():
    z = latents_from_seeds(range(8), 100)
    np.testing.assert_array_equal(truncate(z, 1.0), z)
    np.testing.assert_allclose(np.linalg.norm(truncate(z, 0.5)), np.linalg.norm(z) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    "value", [1.5, -1, -1e-9, math.nan, math.inf, "0.5", b"1", None, True, np.True_, [1], 10**400, 1j]
)
def test_truncation_out_of_range_is_refused(value):
    with pytest.raises(InvalidTruncation, match="from 0 to 1"):
        check_truncation(value)


@pytest.mark.parametrize(
    "latents",
    [
        np.zeros(100),
        np.zeros((2, 99)),
        np.zeros((0, 100)),
        np.full((1, 100), np.nan),
        "text",
        [["a"] * 100],
        [["1"] * 100],
        np.zeros((1, 100), complex),
        np.full((1, 100), 1e39),
        [[1], [2, 3]],
    ],
)
def test_latents_of_a_wrong_form_are_refused(latents):
    with pytest.raises(InvalidLatents):
        check_latents(latents, 100)


def test_slerp_keeps_the_norm_and_lerp_sags():
    a, b = latents_from_seeds([1, 2], 512)
    low, high = sorted(np.linalg.norm([a, b], axis=1))
    assert low <= np.linalg.norm(slerp(a, b, 0.5)) <= high
    assert np.linalg.norm(lerp(a, b, 0.5)) < 0.8 * low


def test_slerp_follows_the_great_circle():
    quarter = slerp(np.array([1, 0], np.float32), np.array([0, 1], np.float32), 1 / 3)
    np.testing.assert_allclose(quarter, [math.cos(math.pi / 6), math.sin(math.pi / 6)], rtol=1e-6)


@pytest.mark.parametrize("end", [[2.0, 0.0], [-2.0, 0.0], [0.0, 0.0]])
def test_slerp_without_one_great_circle_is_lerp(end):
    a, b = np.array([2, 0], np.float32), np.array(end, np.float32)
    np.testing.assert_allclose(slerp(a, b, 0.25), lerp(a, b, 0.25), atol=1e-6)


@pytest.mark.parametrize("method", ["slerp", "lerp"])
def test_a_walk_passes_exactly_through_its_keys(method):
    keys = latents_from_seeds([0, 5, 9], 100)
    path = walk_latents(make_walk([0, 5, 9], steps=16, method=method), 100)
    assert path.shape == (33, 100)
    np.testing.assert_array_equal(path[[0, 16, 32]], keys)
    looped = walk_latents(make_walk([0, 5, 9], steps=16, method=method, loop=True), 100)
    assert looped.shape == (48, 100)
    np.testing.assert_array_equal(looped[[0, 16, 32]], keys)
    # The last stretch leads back: its end lies nearer to the first key than its beginning.
    assert np.linalg.norm(looped[47] - keys[0]) < np.linalg.norm(looped[33] - keys[0])


@pytest.mark.parametrize(
    "wish",
    [
        {"steps": 0},
        {"steps": -3},
        {"steps": 1.5},
        {"steps": 10**9},
        {"steps": 10**400},
        {"steps": 4, "loop": "no"},
        {"steps": 4, "loop": None},
        {"steps": 4, "method": "slurp"},
        {"steps": 4, "keys": 1},
    ],
)
def test_impossible_walks_are_refused(wish):
    with pytest.raises(InvalidOption) as error:
        make_walk(range(wish.pop("keys", 2)), **wish)
    assert error.value.hint


def test_threads_that_draw_at_once_do_not_mix_their_streams():
    def draw(seed: int) -> bool:
        expected = np.random.RandomState(seed).standard_normal(100).astype(np.float32)
        return all(np.array_equal(latents_from_seeds([seed], 100)[0], expected) for _ in range(200))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(draw, range(8)))
