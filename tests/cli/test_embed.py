"""``ecad embed`` and ``ecad prompts`` on a tiny pipeline."""

import json
from pathlib import Path

from ecad_dsl.pipelines.embeddings import Embeddings


def test_a_file_is_encoded_once_and_in_shares(ecad, write, tmp_path: Path, tiny_folders) -> None:
    prompts, folder = write("a red cat\nblue snow\na red cat\nthe dog\n", "some.txt"), tmp_path / "embeddings"
    own = ("--model", tiny_folders("pixart-alpha"), "--device", "cpu", "-o", folder)
    code, out, _ = ecad("embed", prompts, *own, "--shard", "1/2")
    assert code == 0
    assert out.startswith("2 encoded, 0 were there already")  # "a red cat", and the empty prompt
    code, out, _ = ecad("embed", prompts, *own)
    assert (code, out[:36]) == (0, "2 encoded, 2 were there already; " + out[33:36])
    assert f"{folder} holds 4" in out
    assert Embeddings(folder).missing(["a red cat", "blue snow", "the dog", "", "new"]) == ["new"]
    assert "0 encoded, 4 were there" in ecad("embed", prompts, *own)[1]


def test_prompts_says_what_a_file_holds_and_writes_a_subset_of_it(ecad, write, tmp_path: Path) -> None:
    path = write("Prompts,Category\n" + "".join(f"prompt {i},Colors\n" for i in range(9)), "drawbench.csv")
    code, out, _ = ecad("prompts", path)
    assert code == 0
    assert out.startswith("drawbench: DrawBench, 9 prompts, 9 different\nsha256 ")
    subset = tmp_path / "subset.jsonl"
    assert ecad("prompts", path, "--count", 4, "-o", subset)[0] == 0
    shown = json.loads(ecad("prompts", path, "--count", 4, "--json")[1])
    again = json.loads(ecad("prompts", subset, "--json")[1])
    assert shown["prompts"] == again["prompts"]
    assert len(shown["prompts"]) == 4


def test_mistakes_are_told(ecad, write, tmp_path: Path, tiny_folders) -> None:
    own = ("--model", tiny_folders("pixart-alpha"), "--device", "cpu", "-o", tmp_path / "new")
    assert "there is no file missing.txt" in ecad("embed", "missing.txt", *own)[2]
    assert "--shard is K/N" in ecad("embed", "a cat", *own, "--shard", "3/2")[2]
    assert "fewer than 5" in ecad("embed", "a cat", *own, "--count", 5)[2]
    assert "no model of this name" in ecad("embed", "a cat", "--model", "pixart-omega")[2]
    assert "own.jsonl:2: no JSON" in ecad("prompts", write('"a"\n{\n', "own.jsonl"))[2]
    assert "written as .jsonl or .txt" in ecad("prompts", "a cat", "-o", "x.csv")[2]
    assert not (tmp_path / "new").exists()
