"""Run by .ci/run with the interpreter of a clean environment that holds nothing but the built wheel."""

import importlib.util
import socket
import subprocess
import sys
from pathlib import Path


def main() -> None:
    assert importlib.util.find_spec("torch") is None, "the runtime brought torch along"
    import gan_serve
    from gan_serve.checkpoint.bundled import left_out

    assert "site-packages" in gan_serve.__file__, f"not the wheel: {gan_serve.__file__}"
    socket.socket.connect = _no_network
    [image] = gan_serve.generate("fashion-dcgan", seeds=7)
    assert image.size == (28, 28)
    assert len(gan_serve.interpolate("fashion-dcgan", [0, 5], steps=3)) == 4
    package = Path(gan_serve.__file__).parent
    assert not list(package.rglob("*.safetensors")), "the weights for fine-tuning are in the wheel"
    assert not set(gan_serve.list_models()) & set(left_out()), "a checkpoint that may not be in the wheel"
    assert "torch" not in sys.modules

    for command, extra in (
        ("train", ["--recipe", "dcgan-28", "--data", "x", "--run-dir", "r"]),
        ("export", ["r", "--out", "o"]),
    ):
        outcome = subprocess.run([_script(), command, *extra], capture_output=True, text=True, check=False)
        assert (outcome.returncode, "gan-serve[train]" in outcome.stderr) == (1, True), outcome.stderr
    print("wheel: generates without torch and network; training commands name their extra")


def _no_network(*_: object) -> None:
    raise AssertionError("generate() reached for the network")


def _script() -> str:
    return str(Path(sys.executable).parent / "gan-serve")


if __name__ == "__main__":
    main()
