"""``gan-serve`` as if matplotlib were not installed: ``curves.png`` takes longer than the runs of tests that train."""

import sys

sys.modules["matplotlib"] = None  # type: ignore[assignment]

from gan_serve.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
