"""Prompt sets in the formats that they are published in, and mistakes in them with their lines."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecad_dsl.errors import EcadError
from ecad_dsl.quality.prompt_files import PromptFile, read_prompts, to_json_lines

COCO = {
    "info": {"description": "COCO 2014 Dataset"},
    "images": [{"id": 7, "file_name": "COCO_val2014_000000000007.jpg"}],
    "annotations": [
        {"image_id": 9, "id": 31, "caption": "A dog runs. "},
        {"image_id": 7, "id": 30, "caption": "Later caption"},
        {"image_id": 7, "id": 12, "caption": "A cat\nsleeps."},
    ],
}

FILES = [
    ("benchmark-prompts.json", json.dumps([{"id": "000-1", "prompt": "a cat"}, {"id": "000-2", "prompt": "a dog"}]),
     "ImageReward", ["a cat", "a dog"], ["000-1", "000-2"]),
    ("test.json", json.dumps([{"prompt_id": "8-2", "prompt": "a cat", "generations": []}]),
     "ImageReward", ["a cat"], ["8-2"]),
    ("captions_val2014.json", json.dumps(COCO), "COCO captions", ["A cat\nsleeps.", "A dog runs."], ["7", "9"]),
    ("meta_data.json", json.dumps({"a1": {"category": "animals", "prompt": "a cat"}, "b2": {"prompt": "a dog"}}),
     "MJHQ-30k", ["a cat", "a dog"], ["a1", "b2"]),
    ("drawbench.csv", '\ufeffPrompts,Category\nA red car.,Colors\n"A ""red"" car,\ntwo lines.",Text\n',
     "DrawBench", ["A red car.", 'A "red" car,\ntwo lines.'], ["1", "2"]),
    ("PartiPrompts.tsv",
     'Prompt\tCategory\tChallenge\tNote\nbond\tAbstract\tBasic\t\n"6"" tall"\tA\tB\t\n"a" or "b"\tA\t"B\t\n',
     "PartiPrompts", ["bond", '6" tall', '"a" or "b"'], ["1", "2", "3"]),
    ("own.txt", "a cat\r\n\n  a dog \n", "lines", ["a cat", "a dog"], ["1", "3"]),
    ("own.jsonl", '{"caption": "a cat"}\n\n"a dog"\n{"id": 5, "text": "a cow"}\n',
     "JSON lines", ["a cat", "a dog", "a cow"], ["1", "3", "5"]),
    ("own.csv", "id,Caption\n4,a cat\n\n9,a dog\n", "table", ["a cat", "a dog"], ["4", "9"]),
    ("own.json", '["a cat", "a dog"]', "list", ["a cat", "a dog"], ["1", "2"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "kind", "prompts", "ids"), FILES, ids=[file[0] for file in FILES])
def test_every_format_is_read_as_it_is_published(
    tmp_path: Path, name: str, text: str, kind: str, prompts: list[str], ids: list[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode())
    read = read_prompts(path)
    assert (read.format, list(read.prompts), list(read.ids)) == (kind, prompts, ids)
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read.name == path.stem


WRONG = [
    ("a.json", '[\n  {"prompt": "a"},\n  {"promt": "b"}\n]', "a.json:3: no text prompt, prompts, caption or text"),
    ("a.json", '[\n  {"prompt": "a"},\n  {"prompt": "b"\n]', "a.json:4: no JSON: Expecting ',' delimiter"),
    ("a.json", '[{"prompt": " "}]', "a.json:1: the prompt is empty"),
    ("a.json", '{\n"x": {"prompt": "a"},\n"y": {"category": "b"}\n}', "a.json:3: y: no text prompt"),
    ("a.json", '{"annotations": [\n{"image_id": 1, "id": 1, "caption": "[a]"},\n\n{"image_id": 1, "id": 2}]}',
     "a.json:4: an annotation needs image_id"),
    ("a.json", "3", "a.json:1: neither a list of prompts"),
    ("a.json", "[" * 100_000, "a.json:1: no JSON"),
    ("a.json", "[]", "holds no prompts"),
    ("a.jsonl", '"a"\n{"prompt": 3}\n', "a.jsonl:2: no text prompt"),
    ("a.jsonl", '"a"\n\n{\n', "a.jsonl:3: no JSON"),
    ("a.csv", "title,words\n", "a.csv:1: no column prompt, prompts, caption or text in the first row"),
    ("a.csv", 'prompt\na\n"b\nc', "a.csv:4: no table: unexpected end of data"),
    ("a.csv", "id,prompt\n1,a\n2\n", "a.csv:3: the row has 1 cells"),
    ("a.tsv", "prompt\tnote\na\tb\n\tc\n", "a.tsv:3: the prompt is empty"),
    ("a.txt", "\n\n", "holds no prompts"),
    ("a.txt", b"a\nb\xff\n", "a.txt:2: not UTF-8"),
    ("a.xlsx", "PK", "prompts are read from .txt"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "message"), WRONG, ids=[w[2] for w in WRONG])
def test_a_mistake_is_named_with_its_line(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(EcadError) as error:
        read_prompts(path)
    assert message in str(error.value)


def prompt_file(count: int) -> PromptFile:
    names = tuple(map(str, range(count)))
    return PromptFile("some", "lines", tuple(f"prompt {name}" for name in names), names, "")


@given(count=st.integers(0, 50), seed=st.integers(0, 5))
def test_a_subset_is_the_same_every_time_in_the_order_of_the_file(count: int, seed: int) -> None:
    whole = prompt_file(50)
    part = whole.subset(count, seed)
    assert part == whole.subset(count, seed)
    assert len(set(part.ids)) == count
    assert [int(name) for name in part.ids] == sorted(int(name) for name in part.ids)
    assert part.prompts == tuple(f"prompt {name}" for name in part.ids)


def test_subsets_differ_by_seed_and_stay_what_they_are() -> None:
    assert prompt_file(10).subset(3, seed=0).ids == ("0", "6", "9")  # on every machine and every Python
    assert prompt_file(10).subset(3, seed=1).ids != ("0", "6", "9")
    with pytest.raises(EcadError, match="has 10 prompts, fewer than 11"):
        prompt_file(10).subset(11)


def test_seeds_count_up_over_prompts_and_their_pictures() -> None:
    prompts = prompt_file(2).with_seeds(first=5, each=2)
    assert prompts.prompts == ("prompt 0", "prompt 0", "prompt 1", "prompt 1")
    assert prompts.seeds == (5, 6, 7, 8)


@given(st.lists(st.text(min_size=1).map(str.strip).filter(bool), min_size=1, max_size=5))
def test_what_is_written_as_json_lines_is_read_again(prompts: list[str]) -> None:
    import tempfile

    own = PromptFile("some", "JSON lines", tuple(prompts), tuple(f"n{i}" for i in range(len(prompts))), "")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.jsonl"
        path.write_text("".join(f"{line}\n" for line in to_json_lines(own)), encoding="utf-8")
        read = read_prompts(path)
    assert (read.prompts, read.ids) == (own.prompts, own.ids)
