"""Every tier at every scale: the fresh network, its ONNX graph, and networks begun with another's weights."""

import importlib.util
import unittest

import numpy as np

try:
    import torch

    from acuity_trainer import networks, train
except ImportError as missing:
    raise unittest.SkipTest(f"PyTorch is not here ({missing}); Debian: python3-torch") from missing

from acuity_trainer import contract, media

from .test_media import textured

HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def shaken(tier, scale, seed=5):
    """A network of random weights whose residual can be seen."""
    torch.manual_seed(seed)
    network = networks.build(tier, scale)
    with torch.no_grad():
        network.tail.project.mul_(4)
    return network


def by_torch(network, luma):
    """uint8 [h, w] to uint8 [scale h, scale w], rounded as the exported graph rounds."""
    with torch.no_grad():
        out = network(torch.from_numpy(luma)[None, None].float() / 255)[0, 0]
    return (out * 255 + 0.5).clamp(0, 255.49).byte().numpy()


class EveryTier(unittest.TestCase):
    def setUp(self):
        torch.set_num_threads(1)

    def test_sizes_are_those_of_the_contract(self):
        sizes = {tier: networks.parameters_of(networks.build(tier).collapsed()) for tier in contract.TIERS}
        bounds = {"s": 10, "m": 39, "l": 152, "v10": 75, "v15": 271, "v20": 666}
        self.assertEqual({tier: round(size / 1000) for tier, size in sizes.items()}, bounds)

    def test_a_vdsr_costs_its_layers_at_target_resolution(self):
        macs = {tier: networks.macs_per_pixel(networks.build(tier).collapsed()) for tier in ("l", "v20")}
        self.assertGreater(macs["v20"], 16 * macs["l"])

    def test_a_fresh_network_is_the_plain_scaler(self):
        for scale in contract.SCALES:
            luma = textured(1)[0]
            height, width = luma.shape
            theirs = media.scale(media.frames_from_luma(luma[None]), width * scale, height * scale).luma[0]
            for tier in ("s", "v10"):
                with self.subTest(tier=tier, scale=scale):
                    mine = by_torch(networks.build(tier, scale).silence(), luma)
                    inner = np.s_[4 * scale : -4 * scale, 4 * scale : -4 * scale]
                    far = np.abs(mine[inner].astype(int) - theirs[inner])
                    self.assertLessEqual(int(far.max()), 2)
                    self.assertLess(float(far.mean()), 0.35)

    def test_odd_sizes_come_out_scaled(self):
        for tier in contract.TIERS:
            for scale in contract.SCALES:
                with self.subTest(tier=tier, scale=scale):
                    self.assertEqual(
                        by_torch(networks.build(tier, scale), textured(1, 32, 32)[0][:19, :23]).shape,
                        (19 * scale, 23 * scale),
                    )

    def test_core_is_the_middle_of_the_whole(self):
        luma = torch.from_numpy(textured(1, 64, 64)[0].copy())[None, None].float() / 255
        for tier in contract.TIERS:
            with self.subTest(tier), torch.no_grad():
                network = shaken(tier, 3)
                self.assertLess(float((network.core(luma) - train.middle(network(luma), network)).abs().max()), 1e-4)

    def test_a_flat_picture_stays_flat_up_to_the_border(self):
        for tier in ("s", "v10"):
            with self.subTest(tier), torch.no_grad():
                out = networks.build(tier, 3).silence()(torch.full((1, 1, 20, 24), 0.4))
                self.assertLess(float((out - 0.4).abs().max()), 1e-5)

    @unittest.skipUnless(HAS_ONNX, "onnx and onnxruntime are not here (requirements.lock)")
    def test_the_exported_graph_gives_the_same_picture(self):
        from acuity_trainer import export

        luma = textured(1, 32, 32)[0][:27, :31]
        for tier in contract.TIERS:
            for scale in contract.SCALES:
                with self.subTest(tier=tier, scale=scale):
                    network = shaken(tier, scale)
                    data = export.build(network.collapsed(), {"id": "test"}).SerializeToString()
                    theirs = export.upscale(export.session(data), luma)
                    mine = by_torch(network, luma)
                    self.assertEqual(theirs.shape, (27 * scale, 31 * scale))
                    self.assertLessEqual(int(np.abs(mine.astype(int) - theirs).max()), 1)
                    self.assertLess(float((mine != theirs).mean()), 0.002)

    @unittest.skipUnless(HAS_ONNX, "onnx and onnxruntime are not here (requirements.lock)")
    def test_training_can_begin_with_an_exported_model(self):
        from acuity_trainer import export

        luma = textured(1, 32, 32)[0]
        for tier, scale in (("s", 2), ("m", 4), ("v10", 3)):
            with self.subTest(tier=tier, scale=scale):
                network = shaken(tier, scale)
                data = export.build(network.collapsed(), {"id": "test"}).SerializeToString()
                again = networks.from_layers(export.read_layers(data))
                self.assertEqual({k: v.shape for k, v in again.state_dict().items()},
                                 {k: v.shape for k, v in network.state_dict().items()})  # fmt: skip
                self.assertLess(float((by_torch(again, luma) != by_torch(network, luma)).mean()), 0.002)


class Widened(unittest.TestCase):
    def test_a_dearer_tier_begins_where_the_cheap_one_is(self):
        picture = torch.rand(1, 1, 20, 22)
        for small, large in (("s", "m"), ("s", "l"), ("m", "l"), ("v10", "v20")):
            with self.subTest(f"{small} to {large}"):
                network = shaken(small, 2)
                wide = networks.widened(network, large)
                self.assertLess(float((wide(picture) - network(picture)).abs().max()), 1e-4)
                wide(picture).square().mean().backward()
                self.assertTrue(all(float(p.grad.abs().max()) > 0 for p in wide.tail.parameters()))

    def test_another_scale_keeps_the_body(self):
        network = shaken("s", 2)
        other = networks.widened(network, "s", 4)
        self.assertEqual(other(torch.rand(1, 1, 12, 10)).shape, (1, 1, 48, 40))
        self.assertTrue(torch.allclose(other.body[2].weight(), network.body[2].weight(), atol=1e-5))

    def test_another_family_is_refused(self):
        with self.assertRaisesRegex(ValueError, "another family"):
            networks.widened(networks.build("s"), "v10")


if __name__ == "__main__":
    unittest.main()
