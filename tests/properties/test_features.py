from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from groupshap.properties.efficientnet import EfficientNetLite0, efficientnet_lite0
from groupshap.properties.errors import PropertyError
from groupshap.properties.features import PACKAGED_SHA256, EfficientNetFeatures, packaged_weights


@pytest.fixture(scope="module")
def state():
    return torch.load(packaged_weights(), weights_only=True)


def rings() -> np.ndarray:
    """Coloured rings (1, 3, 64, 64), by arithmetic alone."""
    y, x = np.mgrid[:64, :64] - 31.5
    radius = np.hypot(x, y)
    waves = [128 + 127 * np.sin(radius / wavelength) for wavelength in (2.0, 3.0, 5.0)]
    return np.rint(waves).astype(np.uint8)[None]


def test_the_packaged_weights_are_the_known_ones():
    assert hashlib.sha256(packaged_weights().read_bytes()).hexdigest() == PACKAGED_SHA256
    assert sum(p.numel() for p in EfficientNetLite0().parameters()) == 4_652_008


def test_logits_are_those_of_the_network_that_was_right_on_photographs():
    """Recorded from this network when its logits agreed to 1e-5 with efficientnet-lite-pytorch, on photographs too."""
    out = EfficientNetFeatures(image_size_px=64)(rings())
    best = np.argsort(out.logits[0])[::-1][:5]
    assert best.tolist() == [545, 723, 455, 892, 800]
    np.testing.assert_allclose(out.logits[0, best], [22.1497, 20.7769, 18.8657, 18.555, 18.1023], atol=1e-3)
    assert out.features.mean() == pytest.approx(0.80598, abs=1e-4)


def test_merging_norms_changes_rounding_only(state):
    plain = EfficientNetLite0()
    plain.load_state_dict(state)
    images = torch.randn(4, 3, 48, 40, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for expected, got in zip(plain.eval()(images), efficientnet_lite0(state)(images), strict=True):
            torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_features_do_not_depend_on_the_other_images(noise):
    images = noise(40, 3, 16, 16)
    all_of_them = EfficientNetFeatures(image_size_px=32, batch_size=32)(images)
    reversed_ = EfficientNetFeatures(image_size_px=32, batch_size=32)(images[::-1])
    alone = EfficientNetFeatures(image_size_px=32, batch_size=32)(images[35:36])
    other_batches = EfficientNetFeatures(image_size_px=32, batch_size=5)(images)
    for name in ("features", "logits"):
        expected = getattr(all_of_them, name)
        assert np.array_equal(getattr(reversed_, name)[::-1], expected)  # bit for bit
        assert np.array_equal(getattr(alone, name), expected[35:36])
        # other batch sizes: also equal bits on the machines seen, but that is up to the matrix kernels
        np.testing.assert_allclose(getattr(other_batches, name), expected, atol=1e-4)


def test_one_pass_serves_all_who_ask_for_the_same_images(extractor, noise):
    images = noise(3, 3, 16, 16)
    first = extractor(images)
    assert extractor(images.copy()) is first
    images[0, 0, 0, 0] ^= 255
    assert extractor(images) is not first  # a change in place is seen


def test_grey_images_are_repeated_and_large_ones_scaled_down(extractor, noise):
    grey = noise(2, 1, 80, 80)
    assert np.array_equal(extractor(grey).features, extractor(np.repeat(grey, 3, axis=1)).features)
    lines = np.zeros((1, 1, 32, 128), dtype=np.uint8)
    lines[..., ::4] = 255  # every fourth column: on average 64, but plain interpolation would fall between them
    plain = np.full((1, 1, 32, 32), 64, dtype=np.uint8)
    inner = np.s_[..., 8:24]  # borders average over fewer columns
    scaled, expected = (extractor.scaled(torch.from_numpy(images)) for images in (lines, plain))
    np.testing.assert_allclose(scaled[inner], expected[inner], atol=0.01)


@pytest.mark.parametrize("content", [b"not weights", {"weight": torch.zeros(2)}])
def test_a_wrong_file_is_refused_by_name(content, tmp_path, noise):
    path = tmp_path / "other.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(PropertyError, match=r"other\.pth .* is not a state dict of EfficientNet-Lite0"):
        EfficientNetFeatures(path)(noise(1, 3, 8, 8))


def test_a_damaged_package_is_refused(tmp_path, noise):
    extractor = EfficientNetFeatures()
    extractor.weights = tmp_path / "damaged.pth"
    extractor.weights.write_bytes(b"half a download")
    with pytest.raises(PropertyError, match="expected 579344"):
        extractor(noise(1, 3, 8, 8))
