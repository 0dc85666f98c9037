"""Installs what test_other_clients.py runs beside the client of the tests, into .tools/clients: `make clients`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".tools" / "clients"
# The first official client that knows reasoning tokens, with what it needed then.
OLD = ["openai==1.45.0", "httpx==0.27.2"]
NODE = {
    "openai": "7.57.0",
    "ai": "7.0.173",
    "@ai-sdk/openai": "4.0.118",
    "@langchain/openai": "1.6.0",
    "@langchain/core": "1.4.0",
}


def main() -> None:
    """Raises CalledProcessError with the installer's own words on the screen."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (FOLDER / "old" / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER / "old")], check=True)
    subprocess.run([str(FOLDER / "old" / "bin" / "python"), "-m", "pip", "install", "--quiet", *OLD], check=True)
    npm = shutil.which("npm")
    if npm is None:
        print("no npm on this machine: the clients for JavaScript are left out", file=sys.stderr)
        return
    node = FOLDER / "node"
    node.mkdir(exist_ok=True)
    (node / "package.json").write_text(json.dumps({"private": True, "type": "module", "dependencies": NODE}))
    subprocess.run([npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=node, check=True)


if __name__ == "__main__":
    main()
