"""Fixtures that more than one folder of tests uses."""

import pytest
import torch
from hypothesis import settings

from ecad_dsl.reference.pipeline import ReferencePipeline, load_reference
from tests.tiny_pipelines import tiny_folders

__all__ = ["tiny_folders"]

# A law does not depend on how busy the machine is.
settings.register_profile("ecad", deadline=None)
settings.load_profile("ecad")


@pytest.fixture(scope="session", autouse=True)
def _one_thread_a_worker() -> None:
    """Test workers run side by side; threads that fight for the same cores make all of them slow."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pipe() -> ReferencePipeline:
    """The shipped reference pipeline. Shared: a test must leave it as it was."""
    return load_reference()
