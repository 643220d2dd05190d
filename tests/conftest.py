"""Fixtures that more than one folder of tests uses."""

import pytest
import torch

from ecad_dsl.reference.pipeline import ReferencePipeline, load_reference


@pytest.fixture(scope="session", autouse=True)
def _one_thread_a_worker() -> None:
    """Test workers run side by side; threads that fight for the same cores make all of them slow."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pipe() -> ReferencePipeline:
    """The shipped reference pipeline. Shared: a test must leave it as it was."""
    return load_reference()
