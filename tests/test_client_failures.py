"""The clients against a server that fails on purpose: what is tried again, what goes on, and what is said."""

from __future__ import annotations

import base64
import copy
import email.utils
import io
import json
import pickle
import re
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import numpy as np
import pytest
from clients import BOTH
from scripted_server import (
    BUSY,
    DIGEST,
    HTML,
    NAME,
    NOT_READY,
    Answer,
    answer,
    drawing,
    half,
    hang_up,
    refusal,
    scripted,
)
from servers import free_port

from gan_serve import GoldenSampleMismatch, UnknownLabel
from gan_serve.errors import (
    BodyTooLarge,
    RequestTimeout,
    ServerError,
    ServerNotReady,
    ServerUnreachable,
    TooManyImages,
    TooManyRequests,
    Unauthorized,
    error_class,
)


def _id(value: object) -> str:
    return value.__name__ if isinstance(value, type) else "" if callable(value) else str(value)[:40]


@pytest.fixture(scope="module")
def drawn() -> Answer:
    """Return the response of a gan-serve server to /sample and /interpolate in formats that are not streamed."""
    return drawing()


SHORT_LIVED = {
    "429": BUSY,
    "503": NOT_READY,
    "502 of a proxy": answer(502, HTML, "text/html"),
    "503 of a proxy": answer(503, HTML, "text/html"),
    "hung up": hang_up,
    "shorter than its Content-Length": drawing(half),
    "shorter, and no Content-Length": drawing(half, length=False),
    "damaged": drawing(lambda content: content[:-9] + b"x" * 9),
}


@BOTH
@pytest.mark.parametrize(
    ("failure", "output"),
    [*((name, "pil") for name in SHORT_LIVED), *((name, "numpy") for name in list(SHORT_LIVED)[-2:])],
)
def test_what_may_pass_is_tried_again(kind, failure, output, drawn, generator):
    with scripted(SHORT_LIVED[failure], drawn) as asked, kind(asked.address) as client:
        pixels = [np.asarray(image).reshape(28, 28, 1) for image in client.generate(NAME, 2, output=output)]
        assert len(asked) == 2
        assert asked[0] == asked[1]  # the same seeds, though nobody named any
        np.testing.assert_array_equal(pixels, generator.generate(seeds=asked[0]["seeds"], output="numpy"))


LASTING: list[tuple[Answer, type[ServerError], str]] = [
    (BUSY, TooManyRequests, "Busy."),
    (NOT_READY, ServerNotReady, "It starts."),
    (answer(502, HTML, "text/html"), ServerNotReady, "responded with 502 Bad Gateway, but not as gan-serve does"),
    (hang_up, ServerUnreachable, "The connection to ADDRESS broke"),
    (drawing(half), ServerUnreachable, "The connection to ADDRESS broke"),
    (drawing(half, length=False), ServerError, "A response from ADDRESS is damaged: it cannot be read"),
    (answer(200, b"[]"), ServerError, "is damaged"),
    (answer(200, b'{"images": []}'), ServerError, "is damaged"),
    (answer(200, b'{"images": [{"png": "AAAA", "receipt": {}}]}'), ServerError, "is damaged"),
    (answer(200, b'{"images": [{"png": "=!", "receipt": {}}]}'), ServerError, "is damaged"),
    (answer(200, b'{"images": [1, 2]}'), ServerError, "is damaged"),
    (answer(200, b"x", **{"Content-Encoding": "gzip"}), ServerError, "is damaged"),
]


@BOTH
@pytest.mark.parametrize(("failure", "error", "message"), LASTING, ids=_id)
def test_what_does_not_pass_is_said_in_the_end(kind, failure, error, message):
    with scripted(failure) as asked, kind(asked.address, retries=1) as client:
        with pytest.raises(ServerError, match=re.escape(message.replace("ADDRESS", asked.address))) as raised:
            client.generate(NAME, seed=1)
        assert type(raised.value) is error
        assert raised.value.hint
        assert len(asked) == 2


FINAL: list[tuple[Answer, type[Exception], str]] = [
    (refusal(422, "unknown_label", "No label 'x'.", "Did you mean 'y'?"), UnknownLabel, "No label 'x'."),
    (refusal(401, "unauthorized", "No key."), Unauthorized, "No key."),
    (refusal(413, "body_too_large", "Too large."), BodyTooLarge, "Too large."),
    (refusal(504, "timeout", "Too long."), RequestTimeout, "Too long."),
    (refusal(503, "golden_sample_mismatch", "Another sample."), GoldenSampleMismatch, "Another sample."),
    (refusal(500, "internal_error", "A mistake."), ServerError, "A mistake."),
    (answer(504, HTML, "text/html"), RequestTimeout, "responded with 504"),
    (answer(404, HTML, "text/html"), ServerUnreachable, "is not a gan-serve server: it responded with 404"),
    (answer(200, HTML, "text/html"), ServerUnreachable, "is not a gan-serve server: it responded with 200"),
    (answer(404, b'{"detail": "Not Found"}'), ServerUnreachable, "is not a gan-serve server"),
    (answer(400, b'{"error": "x"}'), ServerUnreachable, "is not a gan-serve server"),
    (answer(400, b'{"error": {"code": 1}}'), ServerUnreachable, "is not a gan-serve server"),
    (answer(400, b"[" * 100_000), ServerUnreachable, "is not a gan-serve server"),
    (answer(204, b""), ServerUnreachable, "is not a gan-serve server"),
    (answer(308, b"", Location="https://example.org/sample"), ServerUnreachable, "https://example.org/sample"),
]


@BOTH
@pytest.mark.parametrize(("failure", "error", "message"), FINAL, ids=_id)
def test_what_would_fail_again_is_said_at_once(kind, failure, error, message):
    with scripted(failure) as asked, kind(asked.address) as client:
        for call in (lambda: client.generate(NAME, seed=1), lambda: list(client.iter_frames(NAME, [0, 5]))):
            del asked[:]
            with pytest.raises(error, match=re.escape(message)) as raised:
                call()
            assert type(raised.value) is error
            assert len(asked) == 1


@BOTH
def test_the_hint_of_the_server_is_kept(kind):
    with scripted(refusal(422, "unknown_label", "No label 'x'.", "Did you mean 'y'?")) as asked:
        with kind(asked.address) as client, pytest.raises(UnknownLabel) as raised:
            client.generate(NAME)
        assert raised.value.hint == "Did you mean 'y'?"


@BOTH
def test_a_code_of_a_later_version_is_told(kind):
    with scripted(refusal(418, "teapot", "It is a teapot.")) as asked, kind(asked.address) as client:
        with pytest.raises(ServerError, match="teapot") as raised:
            client.generate(NAME)
        assert (raised.value.code, raised.value.status) == ("teapot", 418)
    assert error_class("teapot") is ServerError


@BOTH
def test_it_waits_as_long_as_the_server_asks_for(kind, drawn):
    busy = refusal(429, "too_many_requests", Retry_After="1")
    with scripted(busy, drawn) as asked, kind(asked.address) as client:
        client.generate(NAME)
        assert asked.times[1] - asked.times[0] >= 1


@BOTH
@pytest.mark.parametrize("as_date", [False, True])
def test_it_does_not_wait_for_an_hour(kind, as_date):
    hour = email.utils.formatdate(time.time() + 3600, usegmt=True) if as_date else "3600"
    with scripted(refusal(503, "not_ready", Retry_After=hour)) as asked, kind(asked.address) as client:
        with pytest.raises(ServerNotReady) as raised:
            client.generate(NAME)
        assert len(asked) == 1
        assert raised.value.retry_after == pytest.approx(3600, abs=60)
        for copied in (copy.copy(raised.value), pickle.loads(pickle.dumps(raised.value))):
            assert (copied.message, copied.retry_after) == (raised.value.message, raised.value.retry_after)


@BOTH
def test_a_retry_after_that_makes_no_sense_is_passed_over(kind, drawn):
    with scripted(refusal(429, "too_many_requests", Retry_After="soon"), drawn) as asked, kind(asked.address) as client:
        assert len(client.generate(NAME)) == 1


@BOTH
def test_without_retries_every_failure_is_final(kind):
    with scripted(BUSY) as asked, kind(asked.address, retries=0) as client:
        with pytest.raises(TooManyRequests) as raised:
            client.generate(NAME)
        assert (len(asked), raised.value.retry_after) == (1, 0)


@BOTH
def test_nobody_at_the_address(kind):
    address = f"http://127.0.0.1:{free_port()}"
    with kind(address, retries=0) as client:
        for call in (client.models, lambda: client.generate(NAME), lambda: list(client.iter_frames(NAME, [0, 5]))):
            with pytest.raises(ServerUnreachable, match=re.escape(address)) as raised:
                call()
            assert "gan-serve serve" in raised.value.hint


@BOTH
def test_a_server_that_never_answers(kind):
    over = threading.Event()
    with scripted(lambda *_: over.wait(20) and None) as asked:
        try:
            with kind(asked.address, timeout=0.3) as client:
                for call in (client.models, lambda: list(client.iter_frames(NAME, [0, 5]))):
                    with pytest.raises(RequestTimeout) as raised:
                        call()
                    assert "timeout" in raised.value.hint
            assert len(asked) == 2
        finally:
            over.set()


@BOTH
@pytest.mark.parametrize("output", ["pil", "numpy"])
def test_other_images_than_were_asked_for_are_refused(kind, output):
    another = drawing()

    def one_of_two(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        another(handler, body | {"seeds": "1"})

    with (
        scripted(one_of_two) as asked,
        kind(asked.address, retries=0) as client,
        pytest.raises(ServerError, match="1 images"),
    ):
        client.generate(NAME, 2, output=output)


@BOTH
@pytest.mark.parametrize(
    "arrays", [{}, {"images": np.zeros((1, 28, 28, 1))}, {"images": np.zeros((1, 28), np.uint8)}, {"images": [None]}]
)
def test_an_npz_of_something_else_is_refused(kind, arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    with (
        scripted(answer(200, out.getvalue(), "application/x-npz")) as asked,
        kind(asked.address, retries=0) as client,
        pytest.raises(ServerError, match="damaged"),
    ):
        client.generate(NAME, output="numpy")


TOO_MANY = refusal(422, "too_many_images", "Too many.")


@BOTH
@pytest.mark.parametrize(
    ("models", "parts"),
    [(b'{"limits": {"max_images": 3}}', ["0-2", "3"]), (b"{}", ["0-1", "2-3"]), (b'{"limits": {}}', ["0-1", "2-3"])],
)
def test_parts_are_as_large_as_the_server_says_or_else_half(kind, models, parts, drawn, generator):
    with scripted(TOO_MANY, answer(200, models), drawn, BUSY, drawn) as asked, kind(asked.address) as client:
        pixels = client.generate(NAME, seeds="0-3", output="numpy")
        np.testing.assert_array_equal(pixels, generator.generate(seeds="0-3", output="numpy"))
        assert [body.get("seeds") for body in asked] == ["0-3", None, *parts, parts[-1]]
        client.generate(NAME, seeds="0-3", output="numpy")  # it knows the limit now
        assert [body.get("seeds") for body in asked[5:]] == parts


@BOTH
def test_a_server_that_draws_not_even_one_image(kind):
    with scripted(TOO_MANY) as asked, kind(asked.address) as client, pytest.raises(TooManyImages, match="Too many"):
        client.generate(NAME)
    halved = [TOO_MANY, answer(200, b"{}"), TOO_MANY]
    with scripted(*halved) as asked, kind(asked.address) as client, pytest.raises(TooManyImages, match="Too many"):
        client.generate(NAME, 2)
    with scripted(TOO_MANY) as asked, kind(asked.address) as client, pytest.raises(TooManyImages):
        list(client.iter_frames(NAME, [0, 5]))


@BOTH
@pytest.mark.parametrize("output", ["pil", "numpy"])
def test_parts_of_two_checkpoints_are_not_put_together(kind, output):
    other = DIGEST.replace("0", "1")
    replaced = drawing(lambda content: content.replace(b'"digest": "sha256:', b'"digest": "SHA256:'), digest=other)
    limits = answer(200, b'{"limits": {"max_images": 1}}')
    with (
        scripted(TOO_MANY, limits, drawing(), replaced) as asked,
        kind(asked.address) as client,
        pytest.raises(ServerError, match="changed its checkpoint"),
    ):
        client.generate(NAME, 2, output=output)


@BOTH
def test_a_server_may_lie_under_a_path_and_gets_the_key(kind):
    seen = []

    def models(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        seen.append((handler.path, handler.headers["authorization"]))
        answer(200, b'{"models": []}')(handler, body)

    with scripted(models) as asked, kind(f"{asked.address}/gan/", api_key="secret", timeout=None) as client:
        assert client.models() == []
    assert seen == [("/gan/models", "Bearer secret")]


def latent_of(label: str, **changes: Any) -> Answer:
    """The response of ``POST /project``."""
    found = {"model": NAME, "digest": DIGEST, "latents": [[0.5, -1.0]], "label": label, "psnr": 20.5, "own_psnr": 42.0}
    return answer(200, json.dumps(found | changes).encode())


@BOTH
def test_pictures_are_projected_one_by_one_and_joined(kind):
    second = latent_of("Coat", latents=[[1.0, 2.0]], psnr=31.0)
    with scripted(latent_of("Bag"), BUSY, second) as asked, kind(asked.address) as client:
        found = client.project(NAME, [b"one", b"two"], label=["Bag", 1], fit="exact")
    pictures = [base64.b64encode(content).decode() for content in (b"one", b"two", b"two")]
    assert [body["image"] for body in asked] == pictures
    assert [body["label"] for body in asked] == ["Bag", 1, 1]
    assert {body["fit"] for body in asked} == {"exact"}
    np.testing.assert_array_equal(found.latents, np.float32([[0.5, -1.0], [1.0, 2.0]]))
    assert (found.labels, found.psnr.tolist(), found.own_psnr, found.real_psnr) == (
        ["Bag", "Coat"],
        [20.5, 31.0],
        42.0,
        None,
    )


@BOTH
@pytest.mark.parametrize(
    ("second", "message"),
    [
        (latent_of("Coat", digest="sha256:1"), "changed its checkpoint"),
        (latent_of("Coat", latents=[0.5]), "is damaged"),
        (latent_of("Coat", psnr="none"), "is damaged"),
        (answer(200, b'{"latents": [[0.5]]}'), "is damaged"),
    ],
)
def test_latents_that_do_not_fit_together_are_an_error(kind, second, message):
    responses = scripted(latent_of("Bag"), second)
    with responses as asked, kind(asked.address, retries=0) as client, pytest.raises(ServerError, match=message):
        client.project(NAME, [b"one", b"two"])
