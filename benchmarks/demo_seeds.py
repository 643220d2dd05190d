"""Does the demo hold for other seeds? ``python benchmarks/demo_seeds.py`` runs it with five and counts.

Each seed has a search, calibration prompts, held-out prompts and noise of its own. A folder that holds a finished demo
is not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("demo_seeds"))
    arguments = parser.parse_args()
    verdicts: dict[str, list[dict[str, object]]] = {}
    for seed in range(arguments.seeds):
        folder = arguments.out / str(seed)
        if not (folder / "verdicts.json").exists():
            # One round of timing: times are not what is counted here.
            options = ["--out", str(folder), "--seed", str(seed), "--rounds", "1"]
            command = [sys.executable, "-m", "ecad_dsl.cli.main", "demo", *options]
            subprocess.run(command, check=True)
        for verdict in json.loads((folder / "verdicts.json").read_text()):
            verdicts.setdefault(verdict["rival"], []).append({"seed": seed, **verdict})
    for rival, cases in verdicts.items():
        wins, sure = (sum(bool(case[kind]) for case in cases) for kind in ("dominates", "surely"))
        print(f"{rival}: dominated on held-out prompts for {wins} of {arguments.seeds} seeds, surely for {sure}")
        for case in cases:
            gain, low, high = (case.get(name, float("nan")) for name in ("gain", "low", "high"))
            print(f"  seed {case['seed']}: {case['evolved']}, reward {gain:+.3f} ({low:+.3f} to {high:+.3f})")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "summary.json").write_text(json.dumps(verdicts, indent=2) + "\n")


if __name__ == "__main__":
    main()
