from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from groupshap.properties import inception
from groupshap.properties.errors import PropertyError
from groupshap.properties.extractors import InceptionFeatures, TorchvisionFeatures
from groupshap.properties.inception import InceptionV3, inception_v3


@pytest.fixture(scope="module")
def weights():
    """Random convolutions of He's size and norms that do something, by name."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in InceptionV3(1).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in sorted(shapes.items()):
        uniform = torch.rand(shape, generator=generator)
        is_kernel = len(shape) == 4
        found[name] = (uniform - 0.5) * (24 / shape[1:].numel()) ** 0.5 if is_kernel else 0.5 + uniform
    return {name: value for name, value in found.items() if not name.startswith("fc.") and "num_batches" not in name}


def with_classes(weights, n_classes):
    """The same with class weights."""
    ramp = torch.linspace(-1, 1, n_classes)
    return weights | {"fc.weight": (ramp[:, None] * torch.linspace(0, 1, 2048)).contiguous(), "fc.bias": ramp**2}


def test_both_graphs_are_those_of_their_authors(weights):
    """Recorded from torchvision 0.29.1 and pytorch-fid 0.3.0 on these weights, when the difference was 0.0."""
    images = torch.linspace(-1, 1, 3 * 75 * 75).sin().reshape(1, 3, 75, 75)
    recorded = {
        1000: (0.268464, 0.381593, [-246.348831, 248.348831]),
        1008: (0.304672, 0.445129, [-290.225189, 290.225189]),
    }
    for n_classes, (mean, spread, ends) in recorded.items():
        network = inception_v3(with_classes(weights, n_classes) | {"AuxLogits.fc.bias": torch.zeros(1)})
        assert sum(p.numel() for p in network.parameters()) == 21_785_568 + 2049 * n_classes  # as published
        with torch.inference_mode():
            features, logits = network(images)
        assert (features.mean().item(), features.std().item()) == pytest.approx((mean, spread), rel=1e-4)
        np.testing.assert_allclose(logits[0, [0, -1]], ends, rtol=1e-4)  # without bias behind FID


def test_images_are_scaled_as_pytorch_fid_does_it(weights, tmp_path, noise, monkeypatch):
    """From a file of half precision; to 75 px, which takes a sixteenth of the time."""
    assert inception.IMAGE_SIZE_PX == 299
    monkeypatch.setattr(inception, "IMAGE_SIZE_PX", 75)
    halves = {name: value.half() for name, value in with_classes(weights, 1008).items()}
    save_file(halves, tmp_path / "inception.safetensors")
    images = torch.from_numpy(noise(1, 3, 40, 50))
    size = {"size": (75, 75), "mode": "bilinear", "align_corners": False}
    with torch.inference_mode():
        found = InceptionFeatures(tmp_path / "inception.safetensors").load()(images)
        expected = inception_v3(halves)(2 * torch.nn.functional.interpolate(images / 255, **size) - 1)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_files_of_the_other_network_are_refused_before_anything_is_loaded(weights, tmp_path, noise):
    other, own = tmp_path / "other.safetensors", tmp_path / "own.safetensors"
    few = {name: value for name, value in weights.items() if name.startswith("Mixed_7c.branch1x1.")}
    save_file(with_classes(few, 1000), other)
    (problem,) = InceptionFeatures(other).problems()
    assert "`inception_weights`: expected safetensors of Inception-v3 ported" in problem
    assert "fc.weight has the shape (1008, 2048), got (1000, 2048)" in problem
    assert TorchvisionFeatures(other).problems() == []
    with pytest.raises(PropertyError, match=r"torchvision's Inception-v3 .* got RuntimeError"):
        TorchvisionFeatures(other)(noise(1, 3, 8, 8))
    (tmp_path / "pickle.pth").write_bytes(b"\x80\x02")
    assert "got SafetensorError" in InceptionFeatures(tmp_path / "pickle.pth").problems()[0]
    assert "need `inception_weights`" in InceptionFeatures().problems()[0]
    assert "no file is at" in InceptionFeatures(own).problems()[0]
