"""Our downloads and pushes beside ``snapshot_download`` and ``upload_folder``, on a server with faults: hub.md.

python benchmarks/hub.py

The server is tests/hub_server.py on loopback. Each download or push is a process of its own with the cache of its row,
so that nothing is remembered. "with timeouts" is the library with every timeout that it lets one set at ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from hub_server import REPO, WRITER, Hub, serving_hub
from tiny_checkpoint import contents, write_checkpoint

PATIENCE = 60  # seconds, after which a client is killed
OURS, LIBRARY, TIMED = WAYS = ("gan-serve", "library", "library, with timeouts")
NAMES = {OURS: "gan-serve", LIBRARY: "library as it is", TIMED: "library with timeouts"}


# In the process of a client: one way to fetch or to push.


def fetch(way: str, model: str) -> dict[str, str]:
    """Fetch the network of a checkpoint, as ``Generator.from_pretrained`` does."""
    from gan_serve.checkpoint.files import read_config
    from gan_serve.hub.file_sets import network_files
    from gan_serve.hub.resolve import resolve

    files = network_files("fp32", "cpu")
    if way == OURS:
        directory = resolve(model, files=files)
    else:
        from huggingface_hub import snapshot_download

        _set_timeouts(way)
        repo, _, revision = model.partition("@")
        # config.json says which files are needed, so it comes first, and the rest of the same commit after it.
        directory = Path(snapshot_download(repo, revision=revision or None, allow_patterns=["config.json"]))
        needed = list(files(read_config(directory)))
        snapshot_download(repo, revision=directory.name, allow_patterns=needed)
    return contents_digest(directory)


def push(way: str, directory: str) -> None:
    """Push a checkpoint whose README.md changes after the verification."""
    from gan_serve.hub import push as ours

    def change_then(call: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **options: Any) -> Any:
            (Path(directory) / "README.md").write_text("---\nlicense: mit\n---\n# changed\n")
            return call(*arguments, **options)

        return changed

    if way == OURS:
        ours._repository = change_then(ours._repository)
        ours.push(directory, REPO)
    else:
        from huggingface_hub import HfApi

        from gan_serve.checkpoint.files import verify_checkpoint

        _set_timeouts(way)
        stale = sorted(
            set(HfApi().list_repo_files(REPO)) - set(verify_checkpoint(Path(directory)).files) - {"config.json"}
        )
        change_then(HfApi().upload_folder)(repo_id=REPO, folder_path=directory, delete_patterns=stale)


def _set_timeouts(way: str) -> None:
    from huggingface_hub import get_session

    if way == TIMED:
        get_session().timeout = 5.0


def contents_digest(directory: Path) -> dict[str, str]:
    """Return the digest of the content of each file that a download needs."""
    return {
        name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in ("config.json", "generator.onnx")
    }


# In this process: the server, and what each row does to it.


class Outcome(NamedTuple):
    """The outcome of a client: its error or none, seconds, requests, and the digests of the files it fetched."""

    error: str | None
    seconds: float
    requests: int
    content: dict[str, str] | None

    def __str__(self) -> str:
        how = self.error or "ok"
        return f"{how}, {self.requests} request{'s' * (self.requests != 1)}, {self.seconds:.1f} s"


class Trial:
    """One row for one way: a server with a checkpoint, and an empty cache."""

    def __init__(self, hub: Hub, way: str, folder: Path) -> None:
        self.hub, self.way, self.folder = hub, way, folder
        self.checkpoint = write_checkpoint(folder / "checkpoint")
        self.commit = hub.publish(REPO, self.checkpoint)
        hub.silence = 10 * PATIENCE

    def client(self, action: str = "fetch", argument: str = REPO, **environment: str) -> Outcome:
        """Run a client to its end and return what it did; the time of an empty Python process is not counted."""
        self.hub.log.clear()
        process, start = self.start(action, argument, **environment), time.monotonic()
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return Outcome(f"no end in {PATIENCE} s", PATIENCE, len(self.hub.log), None)
        if process.returncode:
            raise RuntimeError(err)
        error, *printed = json.loads(out)
        return Outcome(error, time.monotonic() - start, len(self.hub.log), printed[0] if printed else None)

    def start(self, action: str, argument: str, **environment: str) -> subprocess.Popen[str]:
        """Start a client; it ignores what this machine knows of the Hub."""
        home = str(self.folder / "home")
        environment = {"HF_ENDPOINT": self.hub.address, "HF_HOME": home, "HF_HUB_DISABLE_XET": "1"} | environment
        environment |= {"HF_TOKEN": WRITER, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore"}
        if self.way == TIMED:
            environment |= {"HF_HUB_ETAG_TIMEOUT": "5", "HF_HUB_DOWNLOAD_TIMEOUT": "5"}
        command = [sys.executable, __file__, action, self.way, argument]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return subprocess.Popen(
            command, env=kept | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    @property
    def pinned(self) -> str:
        """The model at its commit."""
        return f"{REPO}@{self.commit}"


def first_download(trial: Trial) -> str:
    """A first download."""
    return str(trial.client())


def cached_branch(trial: Trial) -> str:
    """The same again, a branch."""
    trial.client()
    return str(trial.client())


def cached_commit(trial: Trial) -> str:
    """The same again, a commit."""
    trial.client(argument=trial.pinned)
    return str(trial.client(argument=trial.pinned))


def other_client_cached(trial: Trial) -> str:
    """A commit that hf_hub_download put in the cache."""
    way, trial.way = trial.way, OURS
    trial.client(argument=trial.pinned)
    trial.way = way
    return str(trial.client(argument=trial.pinned))


def cached_server_down(trial: Trial) -> str:
    """Cached, a branch, closed port."""
    trial.client()
    return str(trial.client(HF_ENDPOINT=closed_port()))


def cached_offline(trial: Trial) -> str:
    """Cached, a branch, HF_HUB_OFFLINE."""
    trial.client()
    return str(trial.client(HF_HUB_OFFLINE="1"))


def down(trial: Trial) -> str:
    """Nothing cached, closed port."""
    return str(trial.client(HF_ENDPOINT=closed_port()))


def unavailable(trial: Trial) -> str:
    """Nothing cached, status 503."""
    trial.hub.status = 503
    return str(trial.client())


def silent(trial: Trial) -> str:
    """Nothing cached, a server that never responds."""
    trial.hub.silent = True
    return str(trial.client())


def silent_later(trial: Trial) -> str:
    """No response to the request for the second file."""
    trial.hub.hold.add("HEAD generator.onnx")
    return str(trial.client())


def no_listing(trial: Trial) -> str:
    """A mirror without the list of files."""
    trial.hub.missing.add("tree")
    return str(trial.client())


def wrong_byte(trial: Trial) -> str:
    """One wrong byte in the download."""
    trial.hub.damage["generator.onnx"] = 1
    outcome = trial.client()
    if outcome.error:
        return str(outcome)
    right = outcome.content == contents_digest(trial.checkpoint)
    return "downloaded again: right bytes" if right else "**wrong bytes accepted**"


def reset(trial: Trial) -> str:
    """Two connection resets."""
    trial.hub.cut["generator.onnx"] = [(100_000, "reset"), (100_000, "reset")]
    return str(trial.client())


def killed(trial: Trial) -> str:
    """Killed half-way, then offline, then again."""
    trial.hub.hold.add("generator.onnx")
    process = trial.start("fetch", REPO)
    assert trial.hub.held.wait(PATIENCE)
    process.kill()
    process.communicate()
    offline = trial.client(HF_HUB_OFFLINE="1")
    trial.hub.hold.clear()
    again = trial.client()
    right = not again.error and again.content == contents_digest(trial.checkpoint)
    return f"offline: {offline.error or 'ok'}; again: {'right bytes' if right else 'wrong'}"


def pushed(trial: Trial) -> str:
    """A push over an earlier commit."""
    return str(trial.client("push", str(trial.checkpoint)))


def changed(trial: Trial) -> str:
    """README.md changes after it was verified."""
    verified = contents(trial.checkpoint)
    outcome = trial.client("push", str(trial.checkpoint))
    same = trial.hub.files(REPO).items() >= verified.items()
    return str(outcome) if outcome.error else "verified bytes" if same else "**other bytes than those verified**"


def without_weights(trial: Trial) -> str:
    """A checkpoint of the wheel, without weights."""
    (trial.checkpoint / "generator.safetensors").unlink()
    trial.hub.publish(REPO, trial.checkpoint)  # the earlier commit has no weights either
    outcome = trial.client("push", str(trial.checkpoint))
    files = trial.hub.files(REPO)
    whole = set(json.loads(files["config.json"])["files"]) <= set(files)
    return str(outcome) if outcome.error else "a whole checkpoint" if whole else "**config.json lists a missing file**"


def silent_push(trial: Trial) -> str:
    """No response to the commit."""
    trial.hub.hold.add("POST commit")
    return str(trial.client("push", str(trial.checkpoint)))


FETCHES = (first_download, cached_branch, cached_commit, other_client_cached, cached_server_down, cached_offline)
FETCHES += (down, unavailable, silent, silent_later, no_listing, wrong_byte, reset, killed)
PUSHES = (pushed, changed, without_weights, silent_push)


def closed_port() -> str:
    """Return an address at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def row(measure: Callable[[Trial], str]) -> str:
    """Return a line of the table: the same on a fresh server for each way."""
    cells = []
    for way in WAYS:
        with serving_hub() as hub, tempfile.TemporaryDirectory() as folder:
            cells.append(measure(Trial(hub, way, Path(folder))))
        print(f"{measure.__name__}: {way}: {cells[-1]}", file=sys.stderr)
    return f"| {(measure.__doc__ or '').rstrip('.')} | {' | '.join(cells)} |"


def table(title: str, rows: tuple[Callable[[Trial], str], ...]) -> str:
    """Return a table of Markdown with a row for each measurement."""
    heads = [f"| {title} | {' | '.join(NAMES[way] for way in WAYS)} |", "|---|---|---|---|"]
    return "\n".join([*heads, *map(row, rows)])


def main() -> None:
    """Measure everything and write hub.md."""
    text = f"""# Downloads and pushes

Written by `python benchmarks/hub.py` with huggingface_hub {version("huggingface-hub")}, against tests/hub_server.py on
loopback. "library" is `snapshot_download` called for `config.json` and then for the files that it names, and
`upload_folder`; "with timeouts" has each of its timeouts at 5 s, as gan-serve has. Seconds include the start of Python
and of its imports; a client that does not end is killed after {PATIENCE} s.

{table("Download", FETCHES)}

{table("Push", PUSHES)}
"""
    (Path(__file__).parent / "hub.md").write_text(text)


if __name__ == "__main__":
    if sys.argv[1:2] in (["fetch"], ["push"]):
        call: Callable[..., Any] = {"fetch": fetch, "push": push}[sys.argv[1]]
        try:
            print(json.dumps([None, call(*sys.argv[2:])]))
        except Exception as error:
            print(json.dumps([type(error).__name__]))
    else:
        main()
