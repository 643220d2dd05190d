"""Worker processes: same answers whatever their number, and no death that loses or stops anything."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ecad_dsl import EcadError
from ecad_dsl.workers import Workers, cpu_count

NUMBERS = dict(enumerate(range(10)))


class Target:
    """What the workers call; ``marks`` is a folder that outlives them."""

    def __init__(self, marks: Path) -> None:
        self.marks = marks

    def square(self, number: int) -> int:
        if number == 7:
            raise ValueError("seven")
        return number * number

    def process(self, _: int) -> int:
        time.sleep(0.05)
        return os.getpid()

    def threads(self, _: int) -> int:
        import torch

        return torch.get_num_threads()

    def deadly(self, number: int) -> int:
        with (self.marks / str(number)).open("a") as file:
            file.write("called\n")
        if number == 3 or (number == 5 and (self.marks / "5").read_text() == "called\n"):
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    def mistaken(self, number: int) -> int:
        raise EcadError(f"no such word: {number}")

    def forever(self, number: int) -> None:
        (self.marks / str(number)).write_text(str(os.getpid()))
        time.sleep(600)


def gone(process: int, seconds: float = 20.0) -> bool:
    for _ in range(int(seconds / 0.05)):
        state = Path(f"/proc/{process}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_answers_do_not_depend_on_the_number_of_workers(tmp_path: Path, count: int) -> None:
    with Workers(Target(tmp_path), count) as workers:
        for _ in range(2):
            answers = dict(workers.map("square", NUMBERS))
            assert {key: answer.value for key, answer in answers.items() if key != 7} == {
                key: key * key for key in NUMBERS if key != 7
            }
            assert (answers[7].value, answers[7].error) == (None, "ValueError: seven")


def test_each_worker_is_a_process_with_its_share_of_the_cpus(tmp_path: Path) -> None:
    with Workers(Target(tmp_path), 2) as workers:
        processes = {answer.value for _, answer in workers.map("process", NUMBERS)}
        assert len(processes) == 2
        assert os.getpid() not in processes
        threads = {answer.value for _, answer in workers.map("threads", NUMBERS)}
        assert threads == {max(1, cpu_count() // 2)}
    assert all(gone(process) for process in processes)


def test_no_more_workers_are_started_than_there_is_work(tmp_path: Path) -> None:
    with Workers(Target(tmp_path), 4) as workers:
        assert len({answer.value for _, answer in workers.map("process", {0: 0})}) == 1
        assert list(workers.map("process", {})) == []


def test_what_a_worker_died_of_is_tried_again_and_given_up_the_second_time(tmp_path: Path) -> None:
    with Workers(Target(tmp_path), 2) as workers:
        answers = dict(workers.map("deadly", NUMBERS))
    assert {key: answer.value for key, answer in answers.items()} == {key: key if key != 3 else None for key in NUMBERS}
    assert answers[3].error == "2 workers died of it, the last by SIGKILL (out of memory?)"
    calls = {key: (tmp_path / str(key)).read_text().count("called") for key in NUMBERS}
    assert calls == {key: 2 if key in (3, 5) else 1 for key in NUMBERS}


@pytest.mark.parametrize("count", [1, 2])
def test_a_mistake_of_the_users_ends_it_all(tmp_path: Path, count: int) -> None:
    with Workers(Target(tmp_path), count) as workers, pytest.raises(EcadError, match="no such word"):
        list(workers.map("mistaken", NUMBERS))


def test_what_cannot_be_sent_is_said_so() -> None:
    with Workers(lambda: None, 2) as workers, pytest.raises(EcadError, match="cannot send this function to worker"):
        list(workers.map("__call__", NUMBERS))


SCRIPT = """
from pathlib import Path
from tests.test_workers import NUMBERS, Target
from ecad_dsl import EcadError
from ecad_dsl.workers import Workers
GUARD
    with Workers(Target(Path("MARKS")), 2) as workers:
        try:
            print(list(workers.map("forever", NUMBERS)))
        except EcadError as error:
            print(error)
"""


def script(tmp_path: Path, guard: str) -> subprocess.Popen[str]:
    file = tmp_path / "script.py"
    file.write_text(SCRIPT.replace("GUARD", guard).replace("MARKS", str(tmp_path)))
    root = Path(__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, file], stdout=subprocess.PIPE, text=True, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
    )


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    out, _ = script(tmp_path, "if True:").communicate(timeout=120)
    assert 'do so under `if __name__ == "__main__":`' in out


def test_workers_do_not_outlive_a_killed_process(tmp_path: Path) -> None:
    process = script(tmp_path, 'if __name__ == "__main__":')
    marks = [tmp_path / "0", tmp_path / "1"]
    while not all(mark.exists() and mark.read_text() for mark in marks):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert all(gone(int(mark.read_text())) for mark in marks)
