"""The raw results: CSV files in docs/content-aware, one row a measurement, rewritten whole at each new row.

A row's key says what was measured, its digests on which bytes. A row whose digests are those of the files at hand is
never measured again; one of another digest is replaced, because the file it was measured on is gone.
"""

import csv
import io
from pathlib import Path

# What is judged of a method's pictures.
FIGURES = ("psnr_db", "ssim", "vmaf", "vmaf_neg", "temporal_db", "flicker")
QUALITY = {
    "file": "quality.csv",
    "key": ("clip", "protocol", "scale", "kbps", "every", "method"),
    "rest": (
        "category",
        "cluster",
        "tier",
        "trained_for",
        "frames",
        "fps",
        "kbps_measured",
        *FIGURES,
        "graph_sha256",
        "clip_sha256",
        "low_sha256",
    ),
}
MODELS = {
    "file": "models.csv",
    "key": ("model",),
    "rest": ("cluster", "scale", "tier", "trained_for", "parameters", "bytes", "steps", "elapsed_s", "sha256"),
}
COST = {
    "file": "cost.csv",
    "key": ("tier", "scale", "machine"),
    "rest": ("ms_per_frame", "parameters", "from"),
}
WHOLE = {"scale", "kbps", "every", "frames", "parameters", "bytes", "steps"}
REAL = {"fps", "kbps_measured", *FIGURES, "elapsed_s", "ms_per_frame"}
DIGITS = {
    "psnr_db": 4,
    "ssim": 5,
    "vmaf": 3,
    "vmaf_neg": 3,
    "temporal_db": 4,
    "flicker": 4,
    "kbps_measured": 1,
    "fps": 3,
}


def _read(field, text):
    if field in WHOLE:
        return int(text) if text else None
    if field in REAL:
        return float(text) if text else None
    return text


def _written(field, value):
    if value is None:
        return ""
    return f"{value:.{DIGITS.get(field, 2)}f}" if isinstance(value, float) and field in REAL else str(value)


class Table:
    """One CSV file as a list of dictionaries in file order; empty cells are None."""

    def __init__(self, kind, folder):
        self.kind, self.path = kind, Path(folder) / kind["file"]
        self.fields = (*kind["key"], *kind["rest"])
        self.rows = {}
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                for told in csv.DictReader(file):
                    row = {field: _read(field, told.get(field) or "") for field in self.fields}
                    self.rows[self.key(row)] = row

    def key(self, row):
        """The tuple that names what a row measures."""
        return tuple(row[field] for field in self.kind["key"])

    def get(self, **key):
        """The row of a key, or None."""
        return self.rows.get(tuple(key[field] for field in self.kind["key"]))

    def put(self, row):
        """Takes a row in, over one of the same key, and writes the file at once."""
        row = {field: row.get(field) for field in self.fields}
        # As a reader will find it: figures rounded once, here.
        row = {field: _read(field, _written(field, value)) for field, value in row.items()}
        self.rows[self.key(row)] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(self.text(), encoding="utf-8")
        partial.rename(self.path)
        return row

    def text(self):
        """The file's text, sorted by key so that a change shows as the rows that changed."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.fields)
        for key in sorted(self.rows, key=lambda key: tuple((value is None, value) for value in key)):
            writer.writerow([_written(field, self.rows[key][field]) for field in self.fields])
        return out.getvalue()

    def __iter__(self):
        return iter(self.rows.values())

    def __len__(self):
        return len(self.rows)
