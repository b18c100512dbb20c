"""Interpolation measured against what else there is: rows, pictures and the page docs/interpolation.md."""
