"""Frame interpolation: networks that make the picture halfway between two, their training and their measuring.

It shares with super-resolution what is the same (`media`, `decode`, `metrics`, the catalogue) and has its own network,
corpus, training run and verdict.
"""
