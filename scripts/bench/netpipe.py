#!/usr/bin/env python3
"""Frames in on standard input (raw yuv420p), twice as large out on standard output: luma by a network.

  netpipe.py NETWORK WIDTH HEIGHT [--threads N] [--provider cpu|openvino] [--onnxruntime DIR] [--peers DIR] [--check]

Chroma is repeated, which is cheaper than what Acuity does with it. At the end one line on standard error tells
frames, seconds from the first frame's arrival to the last one's departure (the network loaded and warm before), and
seconds in the network.
"""

import argparse
import json
import sys
import time

PROVIDERS = {"cpu": "CPUExecutionProvider", "openvino": "OpenVINOExecutionProvider"}


def runtime_network(name, width, height, options):
    import onnxruntime

    import networks

    provider = PROVIDERS.get(options.provider)
    if provider is None:
        sys.exit(f"error: no peer runs on {options.provider}")
    if provider not in onnxruntime.get_available_providers():
        sys.exit(f"error: this onnxruntime has no {provider}; scripts/bench/setup.sh fetches one that has")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.log_severity_level = 3
    given = {"device_type": "CPU", "num_of_threads": str(options.threads)} if options.provider == "openvino" else {}
    session = onnxruntime.InferenceSession(
        networks.build(name, width, height).SerializeToString(),
        settings,
        providers=[provider],
        provider_options=[given],
    )
    if session.get_providers()[0] != provider:
        sys.exit(f"error: {provider} was asked for and {session.get_providers()[0]} runs")
    return lambda luma: session.run(None, {"luma": luma[None, None]})[0][0, 0]


def acnet():
    try:
        from pyanime4k.pyac import pyac
    except ImportError as why:
        sys.exit(f"error: pyanime4k: {why}; scripts/bench/setup.sh fetches it")
    processor = pyac.core.Processor("cpu", 0, "acnet-hdn0")
    if not processor.ok():
        sys.exit(f"error: pyanime4k: {processor.error()}")
    return lambda luma: processor(luma, 2.0)


def pump(enlarge, width, height):
    """Frames through the network until input ends: (frames, seconds, network's seconds)."""
    import numpy as np

    luma_size, chroma = width * height, (2, height // 2, width // 2)
    buffer = bytearray(luma_size * 3 // 2)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    frames, busy, began = 0, 0.0, None
    while source.readinto(buffer) == len(buffer):
        began = began or time.perf_counter()
        frame = np.frombuffer(buffer, np.uint8)
        at = time.perf_counter()
        larger = enlarge(frame[:luma_size].reshape(height, width))
        busy += time.perf_counter() - at
        sink.write(np.ascontiguousarray(larger).data)
        sink.write(frame[luma_size:].reshape(chroma).repeat(2, 1).repeat(2, 2).data)
        frames += 1
    sink.flush()
    return frames, time.perf_counter() - (began or time.perf_counter()), busy


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("width", type=int)
    parser.add_argument("height", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--onnxruntime", help="folder to import onnxruntime from")
    parser.add_argument("--peers", help="folder to import pyanime4k from")
    parser.add_argument("--check", action="store_true", help="run one frame and exit")
    options = parser.parse_args()
    sys.path[:0] = [folder for folder in (options.onnxruntime, options.peers) if folder]
    import numpy as np

    small, size = options.network == "acnet", (options.height, options.width)
    enlarge = acnet() if small else runtime_network(options.network, options.width, options.height, options)
    made = enlarge(np.full(size, 100, np.uint8))
    if made.shape != (options.height * 2, options.width * 2) or made.dtype != np.uint8:
        sys.exit(f"error: {options.network} made {made.dtype} {made.shape} of {size}")
    if options.check:
        return
    frames, seconds, busy = pump(enlarge, options.width, options.height)
    print("netpipe: " + json.dumps({"frames": frames, "seconds": seconds, "network_seconds": busy}), file=sys.stderr)


if __name__ == "__main__":
    main()
