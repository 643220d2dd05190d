"""A few of the random kills that benchmarks/kill.py does many of."""

import json
import subprocess
import sys
from pathlib import Path


def test_a_search_killed_at_random_instants_and_resumed_finds_what_an_undisturbed_one_finds() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "kill.py"
    command = [sys.executable, str(script), "--kills", "6", "--commands", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["searches"]["kills"] == 6
