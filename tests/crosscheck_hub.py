"""Pull a checkpoint of the package from olah, a mirror of the Hub that others wrote, and compare every byte.

`make crosscheck-hub` runs it: olah has dependencies of its own, so it lives in an environment of its own and is no part
of the tests. Its server is started on loopback over a git repository made from the checkpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

REPO = "gan-serve/crosscheck"
CONFIG = """
[basic]
host = "127.0.0.1"
port = {port}
repos-path = "{folder}/repos"
mirrors-path = ["{folder}/mirrors"]
mirror-netloc = "127.0.0.1:{port}"
mirror-lfs-netloc = "127.0.0.1:{port}"

[accessibility]
offline = true
"""


def commit(checkpoint: Path, repository: Path) -> str:
    """A git repository that holds the files of ``checkpoint``; its commit."""
    repository.mkdir(parents=True)

    def git(*arguments: str) -> str:
        author = ["-c", "user.name=gan-serve", "-c", "user.email=none", "-c", "init.defaultBranch=main"]
        return subprocess.run(
            ["git", *author, *arguments], cwd=repository, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init")
    for file in checkpoint.iterdir():
        (repository / file.name).write_bytes(file.read_bytes())
    git("add", ".")
    git("commit", "--message", "a checkpoint")
    return git("rev-parse", "HEAD")


@contextlib.contextmanager
def mirror(olah: Path, folder: Path) -> Iterator[str]:
    """The address of olah, serving the git repositories in ``folder``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "olah.toml").write_text(CONFIG.format(port=port, folder=folder))
    with (folder / "olah.log").open("wb") as log:
        process = subprocess.Popen([olah, "--config", folder / "olah.toml"], cwd=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"olah did not start:\n{(folder / 'olah.log').read_text()}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("olah", type=Path, help="olah's command")
    parser.add_argument("checkpoint", type=Path, nargs="?", default=Path("gan_serve/checkpoints/fashion-dcgan"))
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sha = commit(arguments.checkpoint, folder / "mirrors" / "models" / REPO)
        expected = {file.name: file.read_bytes() for file in arguments.checkpoint.iterdir()}
        # The client reads these when it is imported.
        os.environ |= {"HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
        with mirror(arguments.olah.resolve(), folder) as address:
            os.environ["HF_ENDPOINT"] = address
            from gan_serve import Generator
            from gan_serve.errors import RepositoryNotFound
            from gan_serve.hub.file_sets import every_file
            from gan_serve.hub.resolve import resolve

            drawn = Generator.from_pretrained(REPO).generate(seed=7, output="numpy")
            fetched = sorted(path.name for path in folder.glob("home/hub/models--*/snapshots/*/*"))
            assert fetched == ["config.json", "generator.onnx"], fetched
            directory = resolve(REPO, files=every_file)
            assert directory.name == sha
            assert {file.name: file.read_bytes() for file in directory.iterdir()} == expected
            try:
                resolve("gan-serve/none")
                sys.exit("A repository that is not there was found.")
            except RepositoryNotFound as told:
                print(f"As it should be: {told.message}")
        # The mirror is gone: the branch and the commit are in the cache.
        for model in (REPO, f"{REPO}@{sha}"):
            again = Generator.from_pretrained(model).generate(seed=7, output="numpy")
            assert again.tobytes() == drawn.tobytes()
        size = sum(map(len, expected.values()))
        print(f"{len(expected)} files, {size:,} bytes: all as in {arguments.checkpoint}; works with the mirror gone.")


if __name__ == "__main__":
    main()
