"""Records what the reference implementations of metrics say, for test_oracle.py to compare with.

They need libraries of years ago, so this runs in an environment of its own, and only when the fixture is to change:

    python3.11 -m venv oracle-env
    oracle-env/bin/pip install torch==2.4.1 torchvision==0.19.1 transformers==4.27.4 timm==0.6.13 fairscale==0.4.13 \\
        diffusers==0.16.1 accelerate==0.20.3 'huggingface_hub<0.20' datasets==2.14.7 'pyarrow<15' 'pandas<2.2' \\
        'numpy<2' 'pillow<11' 'setuptools<70' ftfy torch-fidelity==0.4.0 lpips==0.1.4
    oracle-env/bin/pip install --no-deps image-reward==1.5 openai-clip==1.0.1
    oracle-env/bin/python tests/quality/oracle/record.py

The weights are random, by recipes.py, and loaded into the packages' own classes: ImageReward with a smaller picture
encoder (a different argument of the package's class) and once more at the published size, Inception v3 and AlexNet as
they are.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import lpips
import numpy as np
import torch
import torch_fidelity
import torchvision
import transformers
from ImageReward.models.BLIP import blip, blip_pretrain
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

sys.path.insert(0, str(Path(__file__).parent))
import recipes

# The package gives a class the name of its module.
image_reward = sys.modules["ImageReward.ImageReward"]

FIXTURE = Path(__file__).parent / "recorded.json"
SEEDS = (1, 2)


def main() -> None:
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    recorded = {
        "versions": {
            "image-reward": "1.5",
            "transformers": transformers.__version__,
            "torch-fidelity": torch_fidelity.__version__,
            "lpips": "0.1.4",
            "torch": torch.__version__,
        },
        "image_reward": {str(seed): small_rewards(seed) for seed in SEEDS},
        "image_reward_full": full_rewards(),
        "inception_shapes": {name: " ".join(map(str, shape)) for name, shape in inception_shapes().items()},
        "inception": {str(seed): inception_features(seed) for seed in SEEDS},
        "lpips": {str(seed): lpips_distances(seed) for seed in SEEDS},
    }
    FIXTURE.write_text(json.dumps(recorded, indent=1) + "\n")
    print(f"written: {FIXTURE}")


def small_rewards(seed: int) -> list[float]:
    """Rewards by a small ImageReward."""
    with tempfile.TemporaryDirectory() as folder:
        use_tokenizer(Path(folder))
        blip_pretrain.create_vit = lambda vit, image_size, *_: (
            blip.VisionTransformer(img_size=image_size, patch_size=16, **recipes.VIT),
            recipes.VIT["embed_dim"],
        )
        whole_head = image_reward.MLP
        image_reward.MLP = lambda _: whole_head(recipes.MED["hidden_size"])
        model = image_reward.ImageReward(str(recipes.write_med_config(Path(folder))))
        image_reward.MLP, blip_pretrain.create_vit = whole_head, blip.create_vit
    return rewards(model, seed)


def full_rewards() -> dict[str, object]:
    """Rewards at the published size, with the names and shapes of its weights."""
    settings = {
        **recipes.MED, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12,
        "num_hidden_layers": 12, "max_position_embeddings": 512, "vocab_size": 30524, "encoder_width": 768,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        use_tokenizer(Path(folder))
        path = Path(folder) / "med_config.json"
        path.write_text(json.dumps(settings))
        model = image_reward.ImageReward(str(path))
    shapes = {name: " ".join(map(str, tensor.shape)) for name, tensor in model.state_dict().items()}
    return {"med_config": settings, "shapes": shapes, "rewards": rewards(model, 1)}


def use_tokenizer(folder: Path) -> None:
    """The package's own tokenizer, with a small vocabulary instead of one from the hub."""
    recipes.write_vocabulary(folder)
    whole = transformers.BertTokenizer.from_pretrained
    blip.BertTokenizer.from_pretrained = lambda _name: transformers.BertTokenizer(str(folder / "vocab.txt"))
    tokenizer = blip.init_tokenizer()
    blip.BertTokenizer.from_pretrained = whole
    blip_pretrain.init_tokenizer = lambda: tokenizer


def rewards(model: torch.nn.Module, seed: int) -> list[float]:
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items() if "position_ids" not in name}
    model.load_state_dict(recipes.weights(shapes, seed), strict=False)
    model.eval()
    return [model.score(prompt, picture) for prompt, picture in zip(recipes.PROMPTS, recipes.pictures(), strict=True)]


def inception_features(seed: int) -> list[dict[str, float]]:
    """A summary of each picture's 2,048 features: the first four, and two sums over all."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inception.pth"
        torch.save(recipes.weights(inception_shapes(), seed), path)
        network = FeatureExtractorInceptionV3("oracle", ["2048"], feature_extractor_weights_path=str(path))
    found = []
    for picture in recipes.pictures():
        array = np.asarray(picture.convert("RGB"))
        features = network(torch.from_numpy(array.copy()).permute(2, 0, 1)[None])[0][0].double()
        signs = torch.tensor([1.0, -1.0]).repeat(1024).double()
        found.append(
            {
                "first": features[:4].tolist(),
                "sum": features.sum().item(),
                "alternating": (features * signs).sum().item(),
            }
        )
    return found


def inception_shapes() -> dict[str, list[int]]:
    """Names and shapes of the weights, from the class itself, which cannot be made without a file of them."""
    shapes: dict[str, list[int]] = {}

    def note(self: torch.nn.Module, *_: object, **__: object) -> None:
        shapes.update({name: list(tensor.shape) for name, tensor in self.state_dict().items()})
        raise StopIteration

    load, FeatureExtractorInceptionV3.load_state_dict = FeatureExtractorInceptionV3.load_state_dict, note
    read, torch.load = torch.load, lambda *_, **__: {}
    try:
        FeatureExtractorInceptionV3("shapes", ["2048"], feature_extractor_weights_path="none")
    except StopIteration:
        pass
    finally:
        FeatureExtractorInceptionV3.load_state_dict, torch.load = load, read
    return {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}


def lpips_distances(seed: int) -> list[float]:
    """Of each picture to its spoilt copy, by the fitted weights on a random AlexNet."""
    model = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    alexnet = torchvision.models.alexnet(weights=None)
    shapes = {name: tensor.shape for name, tensor in alexnet.state_dict().items() if name.startswith("features.")}
    random = recipes.weights(shapes, seed)
    for slice_ in (model.net.slice1, model.net.slice2, model.net.slice3, model.net.slice4, model.net.slice5):
        own = {name: random[f"features.{name}"] for name in slice_.state_dict()}
        slice_.load_state_dict(own)
    found = []
    for index, picture in enumerate(recipes.pictures()):
        pair = [as_input(picture.convert("RGB")), as_input(recipes.spoilt(picture, index))]
        found.append(model(*pair, normalize=True).item())
    return found


def as_input(picture: object) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None].float() / 255


if __name__ == "__main__":
    main()
