"""Networks to measure a card with, beside those that ship: the float32 models of the catalogue's x2 in float16, for a provider
that takes a file's numbers as they are, and a VDSR (20 layers of 64 channels), which works at 720p.

    measure_models.py OUT    with the trainer's interpreter, .acuity/trainer/bin/python

The VDSR is untrained and adds nothing to the interpolated picture; how long it takes does not depend on its weights.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "models" / "trainer"))
TIERS = ("s", "m", "l")


def halved(model):
    """The same graph with float16 in place of float32: initializers, and what is cast to. In and out are uint8."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
            elif attribute.type == onnx.AttributeProto.TENSOR:
                raise ValueError(f"{node.name} holds a tensor, which these models do not")
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def vdsr():
    """VDSR (20,64), x2, as the trainer exports one."""
    import torch
    from acuity_trainer import export, networks

    torch.manual_seed(0)
    network = networks.Vdsr(64, 20).silence()
    return export.build(network.collapsed(), {"id": "vdsr-20-64"})


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    models = {f"generic-x2-{tier}": onnx.load(ROOT / "models" / "zoo" / f"generic-x2-{tier}.onnx") for tier in TIERS}
    models["vdsr-20-64"] = vdsr()
    for name, model in models.items():
        (out / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
        (out / f"{name}.float16.onnx").write_bytes(halved(model).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
