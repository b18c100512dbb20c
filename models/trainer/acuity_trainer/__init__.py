"""Trainer of Acuity's super-resolution networks.

Makes the training corpus (stills and clips that libx264 really encoded), trains
the networks with PyTorch, exports them under the tensor contract, measures them
against swscale's own scalers and writes the catalogue that the edge reads.
"""

__version__ = "0.1.0"
