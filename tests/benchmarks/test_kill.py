"""A few of the random kills that benchmarks/kill.py does many of."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_a_search_killed_at_random_instants_and_resumed_finds_what_an_undisturbed_one_finds() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "kill.py"
    command = [sys.executable, str(script), "--kills", "6", "--commands", "0"]
    # It forks, which the threads of numerical libraries do not take well.
    alone = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=alone)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["searches"]["kills"] == 6
