"""Publishing on the Hub: one commit of a checkpoint that proves itself, or nothing."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

import pytest
from hub_server import DEPRECATED, READER, REPO, WRITER, Hub, Repository
from tiny_checkpoint import contents, pixels, seal

import gan_serve.hub.resolve
from gan_serve import DigestMismatch, Generator, InvalidCheckpoint
from gan_serve.checkpoint.config import GoldenSample
from gan_serve.errors import (
    AccessDenied,
    HubError,
    HubUnreachable,
    InvalidOption,
)
from gan_serve.hub import push as hub_push
from gan_serve.hub.push import push


@pytest.fixture
def writing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("HF_TOKEN", WRITER)
    return hub


@pytest.mark.filterwarnings(DEPRECATED)
def test_push_and_pull_give_the_same_bytes(writing, tiny, tmp_path):
    url = Generator.from_pretrained(tiny).push_to_hub(REPO, message="a first try")
    repository = writing.repositories[REPO]
    assert url == f"{writing.address}/{REPO}/commit/{repository.refs['main']}"
    assert repository.messages == ["initial commit", "a first try"]
    assert {name: data for name, data in writing.files(REPO).items() if name != ".gitattributes"} == contents(tiny)
    assert contents(Generator.from_pretrained(REPO).save_pretrained(tmp_path / "saved")) == contents(tiny)


@pytest.mark.filterwarnings(DEPRECATED)
def test_without_weights_for_fine_tuning_what_the_hub_has_is_whole(writing, published, tiny, tmp_path, caplog):
    """As a checkpoint of the wheel is pushed, here over one that had them."""
    (tiny / "generator.safetensors").unlink()
    Generator.from_pretrained(tiny).push_to_hub(REPO)
    assert "tiny is published without generator.safetensors" in caplog.text
    saved = contents(Generator.from_pretrained(REPO).save_pretrained(tmp_path / "saved"))
    before, after = (json.loads(files.pop("config.json")) for files in (contents(tiny), saved))
    assert saved == {name: data for name, data in contents(tiny).items() if name != "config.json"}
    assert "generator.safetensors" not in writing.files(REPO)
    del before["files"]["generator.safetensors"]
    assert after == before
    with pytest.raises(InvalidCheckpoint, match=r"has no generator\.safetensors"):
        gan_serve.hub.resolve.resolve(REPO, files=lambda _: ["generator.safetensors"])


@pytest.mark.filterwarnings(DEPRECATED)
def test_a_model_of_the_hub_is_published_under_another_name(writing, published, tiny):
    Generator.from_pretrained(REPO).push_to_hub("somebody/fork", private=True)
    assert writing.repositories["somebody/fork"].private
    assert contents(tiny).items() <= writing.files("somebody/fork").items()


@pytest.mark.filterwarnings(DEPRECATED)
def test_pushing_again_is_one_commit_that_deletes_what_is_gone(writing, published, tiny):
    writing.repositories[REPO].commit({**writing.files(REPO), "NOTES.md": b"by hand"})
    (tiny / "parity.json").unlink()
    (tiny / "samples.png").write_bytes(b"new")
    Generator.from_pretrained(seal(tiny)).push_to_hub(REPO)
    assert writing.files(REPO) == {**contents(tiny), "NOTES.md": b"by hand"}
    assert len(writing.repositories[REPO].messages) == 3


@pytest.mark.filterwarnings(DEPRECATED)
def test_a_branch_is_made_and_main_stays(writing, published, tiny):
    (tiny / "README.md").write_text("---\nlicense: mit\n---\nanother\n")
    Generator.from_pretrained(seal(tiny)).push_to_hub(REPO, revision="v2")
    assert writing.repositories[REPO].refs["main"] == published
    assert writing.files(REPO, "v2") == contents(tiny)
    Generator.from_pretrained(f"{REPO}@v2")


def test_a_directory_that_does_not_prove_itself_is_not_sent(writing, tiny):
    for name, content, error in (
        ("README.md", b"changed", DigestMismatch),
        ("config.json", b"{}", InvalidCheckpoint),
    ):
        before = (tiny / name).read_bytes()
        (tiny / name).write_bytes(content)
        with pytest.raises(error):
            push(tiny, REPO)
        (tiny / name).write_bytes(before)
    with pytest.raises(gan_serve.GoldenSampleMismatch):
        push(seal(tiny, seed=3), REPO)
    config = json.loads((seal(tiny) / "config.json").read_text())
    shutil.copyfile(tiny / "generator.onnx", tiny / "generator.int8.onnx")
    config["files"]["generator.int8.onnx"] = config["files"]["generator.onnx"]
    config["golden_sample"] = GoldenSample.of(pixels(0), 0, reduced={"int8": pixels(0)[::-1]}).model_dump()
    (tiny / "config.json").write_text(json.dumps(config))
    with pytest.raises(gan_serve.GoldenSampleMismatch):
        push(tiny, REPO)
    assert not writing.log


@pytest.mark.parametrize("token", [None, READER, "hf_expired"])
@pytest.mark.parametrize("repo", [REPO, "somebody/new"])
def test_a_token_that_may_not_write_is_told(hub, published, tiny, token, repo):
    with pytest.raises(AccessDenied, match=repo) as error:
        push(tiny, repo, token=token)
    assert "HF_TOKEN" in error.value.hint
    assert list(hub.repositories) == [REPO]
    assert hub.repositories[REPO].refs["main"] == published


@pytest.mark.filterwarnings(DEPRECATED)
def test_what_would_surprise_is_refused(writing, published, tiny):
    with pytest.raises(InvalidOption, match="public"):
        push(tiny, REPO, private=True)
    for repo, revision in (("tiny", None), (f"{REPO}@v1", None), (REPO, published)):
        with pytest.raises(InvalidOption):
            push(tiny, repo, revision=revision)
    writing.repositories[REPO].commit({"config.json": b'{"architectures": ["BertModel"]}'})
    with pytest.raises(InvalidOption, match="another kind of model"):
        push(tiny, REPO)
    assert len(writing.repositories[REPO].messages) == 2


@pytest.mark.parametrize("name", ["model.safetensors", "model_index.json", "model.gguf"])
def test_a_repository_of_another_kind_of_model_is_left_alone(writing, tiny, name):
    before = {".gitattributes": b"", "README.md": b"# theirs\n", name: b"theirs"}
    writing.repositories[REPO] = Repository()
    writing.repositories[REPO].commit(before)
    with pytest.raises(InvalidOption, match="another kind of model"):
        push(tiny, REPO)
    assert writing.files(REPO) == before


@pytest.mark.filterwarnings(DEPRECATED)
def test_a_card_that_the_hub_refuses_makes_no_repository(writing, tiny):
    (tiny / "README.md").write_text("---\nlicense: [\n---\n")
    with pytest.raises(InvalidCheckpoint, match=r"Invalid metadata in README\.md"):
        push(seal(tiny), "somebody/new")
    assert not writing.repositories
    (tiny / "README.md").write_text("---\nlicense: mit\n---\n")
    writing.repositories[REPO] = Repository()  # as a push leaves it that was killed after it made the repository
    writing.repositories[REPO].commit({".gitattributes": b""})
    push(str(seal(tiny)), REPO, private=True)
    assert writing.repositories[REPO].private
    assert contents(tiny).items() <= writing.files(REPO).items()


@pytest.mark.parametrize("step", ["create", "preupload", "batch", "commit"])
@pytest.mark.filterwarnings(DEPRECATED)
def test_a_push_that_is_not_answered_ends(writing, tiny, monkeypatch, step):
    from huggingface_hub import get_session

    monkeypatch.setattr(hub_push, "READ_TIMEOUT", 0.2)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    writing.hold.add(f"POST {step}")
    before = get_session().timeout
    with pytest.raises(HubUnreachable, match=REPO):
        push(tiny, REPO)
    assert writing.held.is_set()
    assert get_session().timeout == before  # the session of the client is left as it was
    assert not writing.repositories or set(writing.files(REPO)) == {".gitattributes"}


@pytest.mark.filterwarnings(DEPRECATED)
def test_a_branch_that_has_moved_on_is_written_to(writing, tiny):
    writing.publish(REPO, tiny)
    writing.repositories[REPO].commit({**contents(tiny), "NOTES.md": b"theirs"}, branch="v2")
    (tiny / "parity.json").unlink()
    push(seal(tiny), REPO, revision="v2")
    assert writing.files(REPO, "v2") == {**contents(tiny), "NOTES.md": b"theirs"}


@pytest.mark.parametrize("says", [{}, [], {"id": REPO}])
def test_an_answer_that_is_not_understood_is_one_clear_error(writing, tiny, says):
    writing.says = says
    with pytest.raises(HubError, match=REPO):
        push(tiny, REPO)


@pytest.mark.filterwarnings(DEPRECATED)
def test_what_somebody_else_pushed_meanwhile_stays(writing, published, tiny, monkeypatch):
    from huggingface_hub import HfApi

    commit = HfApi.create_commit

    def later(*arguments, **options):
        writing.repositories[REPO].commit({"theirs": b""})
        return commit(*arguments, **options)

    monkeypatch.setattr(HfApi, "create_commit", later)
    with pytest.raises(HubError, match="Somebody else pushed") as error:
        push(tiny, REPO)
    assert error.value.hint == "Push again."
    assert writing.files(REPO) == {"theirs": b""}


def test_a_push_offline_says_so(writing, tiny, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachable, match=r"Nothing is sent .* HF_HUB_OFFLINE"):
        push(tiny, REPO)
    assert not writing.log


def test_a_config_nested_too_deeply_is_another_kind_of_model(writing, tiny):
    writing.repositories[REPO] = Repository()
    writing.repositories[REPO].commit({"config.json": b"[" * 200_000})
    with pytest.raises(InvalidOption, match="another kind of model"):
        push(tiny, REPO)


@pytest.mark.filterwarnings(DEPRECATED)
def test_the_card_is_validated_where_the_checkpoint_goes(writing, tiny, monkeypatch):
    """Also where HF_ENDPOINT was set after huggingface_hub was imported, which reads it once."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    push(tiny, "somebody/new")
    assert "POST /api/validate-yaml" in writing.log


@pytest.mark.filterwarnings(DEPRECATED)
def test_what_was_verified_is_sent_and_no_file_is_read_again(writing, tiny, monkeypatch):
    before = contents(tiny)
    check = hub_push._check_golden_samples

    def swap(*arguments: Any) -> None:
        check(*arguments)
        for path in tiny.iterdir():
            path.write_bytes(b"swapped")

    monkeypatch.setattr(hub_push, "_check_golden_samples", swap)
    push(tiny, "somebody/new")
    assert before.items() <= writing.files("somebody/new").items()
