"""Published weights of metrics: a file or a folder of one's own, or fetched once and kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ecad_dsl.errors import EcadError


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors in a .pt, .pth or .safetensors file, on the CPU.

    Raises:
        EcadError: there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise EcadError(f"there are no weights at {path}; name the file that was downloaded")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # What is no pickle at all makes the reader of pickles stumble over anything: KeyError, IndexError, ...
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EcadError(f"{path} does not hold weights ({reason}); is the download complete?") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise EcadError(f"{path} holds something other than weights by name; is it the file that was meant?")
    return found


def fetched(url: str, size: str) -> Path:
    """A file from the web in torch's own cache, fetched if it is not there yet.

    Args:
        url: where it is published.
        size: what the message says that has to be fetched.

    Raises:
        EcadError: it cannot be fetched; the message says where to put it by hand.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=True)
    except (OSError, RuntimeError) as error:
        raise EcadError(
            f"cannot fetch {url} ({size}): {error}; download it on another machine and put it at {path},"
            " or name the file with --weights"
        ) from error
    return path


def from_hub(name: str, file: str, size: str, revision: str | None = None) -> Path:
    """A file of a repository on the hub, or of a local folder that holds the same files.

    Raises:
        EcadError: it is not there, or cannot be fetched.
    """
    if (folder := Path(name)).is_dir():
        if (folder / file).is_file():
            return folder / file
        raise EcadError(f"{folder} holds no {file}; put there what {size} on the hub is called so")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except Exception as error:
        # The hub has a dozen errors for no network, no such name, no permission; all of them mean this.
        raise EcadError(
            f"cannot fetch {file} ({size}) of {name}: {_first_line(error)}; `hf download {name}` on a machine with a"
            " network, then name the folder with --weights"
        ) from error


def fill(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Give a module its weights by name; what else there is in the file is left.

    Raises:
        EcadError: some are missing or have another shape.
    """
    own = {name: tensor for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    wrong = [name for name, tensor in own.items() if name not in weights or weights[name].shape != tensor.shape]
    if wrong:
        raise EcadError(
            f"{where} does not fit: {len(wrong)} of {len(own)} weights are missing or have another shape,"
            f" {wrong[0]} first; is it the file that was meant?"
        )
    module.load_state_dict({name: weights[name] for name in own}, strict=False, assign=True)
    module.eval().requires_grad_(False)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
