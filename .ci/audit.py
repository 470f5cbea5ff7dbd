"""Check the licences and the advisories of what the runtime installs: ``make audit``.

Licences are those of the packages of requirements.lock in the environment of the given Python; advisories are asked of
OSV. The exit status is 0 only where both were checked and nothing was found.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
# Licences that let anybody use and pass on a program beside ours.
ALLOWED = re.compile(
    r"(?!.*\b(AGPL|GPL|Affero|proprietary|NonCommercial))"
    r".*(MIT|BSD|Apache|ISC|PSF|Python Software|MPL|Mozilla|Zlib|Unlicense|HPND|CC0)",
    re.IGNORECASE | re.DOTALL,
)
# Read by hand, where the metadata of a package do not name its licence in a known form.
READ_BY_HAND: dict[str, str] = {}


def locked(lock: str) -> dict[str, str]:
    """Return the version of each package in the text of a lock file, by its name in lower case."""
    return {
        name.lower(): version for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", lock, re.MULTILINE)
    }


def refused(found: list[dict[str, str]]) -> list[str]:
    """Return a line for each package whose licence is not allowed; ``found`` is the JSON of pip-licenses."""
    lines = []
    for package in found:
        licence = READ_BY_HAND.get(package["Name"].lower(), package["License"])
        if not ALLOWED.match(licence):
            lines.append(f"{package['Name']} {package['Version']}: {' '.join(licence.split())[:100]}")
    return lines


def advisories(output: str, errors: str) -> tuple[str, list[str]]:
    """Return a sentence on what pip-audit did, and a line for each advisory; ``output`` is its JSON."""
    try:
        packages = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        reason = errors.strip().splitlines()[-1][:200] if errors.strip() else "no output"
        return f"NOT CHECKED: the advisories, since OSV (api.osv.dev) does not respond: {reason}", []
    found = [
        f"{package['name']} {package['version']}: {each['id']}, fixed in {', '.join(each['fix_versions']) or 'none'}"
        for package in packages for each in package.get("vulns", ())
    ]  # fmt: skip
    return f"Advisories of {len(packages)} packages were checked; {len(found)} found.", found


def main(python: str) -> int:
    """Check both, print what was found, and return the exit status."""
    tools = Path(sys.executable).parent
    names = list(locked(LOCK.read_text()))
    licences = [tools / "pip-licenses", "--python", python, "--from=mixed", "--format=json", "--packages", *names]
    found = json.loads(subprocess.run(licences, capture_output=True, text=True, check=True).stdout)
    bad = refused(found)
    print(
        f"Licences of {len(found)} packages were checked; {len(bad)} are not in the list of .ci/audit.py.",
        *bad,
        sep="\n",
    )
    audit = [tools / "pip-audit", "--requirement", LOCK, "--disable-pip", "--no-deps", "--vulnerability-service=osv",
             "--format=json", "--progress-spinner=off"]  # fmt: skip
    done = subprocess.run(audit, capture_output=True, text=True, check=False)
    sentence, known = advisories(done.stdout, done.stderr)
    print(sentence, *known, sep="\n")
    return int(bool(bad or known or sentence.startswith("NOT")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
