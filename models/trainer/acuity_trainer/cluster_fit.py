"""Learns the embedding and measures how near is near: `embedding.onnx` and `clusters.toml` from a listing of clips.

    python3 -m acuity_trainer.cluster_fit LISTING --cache DIR

The listing has a line for each window of a clip, tab-separated: name, content, role, path, start (s), length (s),
variants. Contents in --clusters become clusters, all others are unlike them. Roles: `tune` windows teach and set the
radius, `test` windows are only measured. A path may be `lavfi:GRAPH` (FFmpeg's generators) or `still:IMAGE` (a slow
pan), and `{name}` in it is replaced by --root name=DIR, so that a listing names no one's folders. Variants are how
the window is coded, as an origin would: `360p600` is 360 lines at 600 kbit/s, `graded` the same with other colours,
as another master of a film has them.

Reach: each centroid's radius is a part of its distance to the nearest centroid of other content. How large a part
comes from leaving clips out: the projection is learned anew without a group of clips, and what they measure from the
rest is what unseen clips would. A cluster's part lies midway between what its own left-out clips need and where the
first left-out clip of other content would come in; where those overlap, other content stays out and its own goes
generic.
"""

import argparse
import hashlib
import random
import sys
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np

from . import cluster, embedding, media

# How a graded version is coded.
GRADED = "360p600"
DIMENSIONS, SHRINKAGE = 48, 0.6
# Clips are left out in so many groups, by each of these shuffles.
FOLDS, SHUFFLES = 8, (1, 2)
# A reach ends at this part of that of the first left-out window of other content.
MARGIN = 0.9
# What its own left-out windows need: nearly all of them.
OWN_QUANTILE = 0.98
# Windows nearer to each other than this part of the typical distance between clips share a centroid.
COVER = 0.35


class Window:
    """One line of the listing."""

    def __init__(self, line, roots):
        self.name, self.content, self.role, path, self.start_s, self.seconds, variants = line.split("\t")
        self.variants = variants.split(",")
        for name, folder in roots.items():
            path = path.replace("{" + name + "}", folder)
        self.path = path

    @property
    def clip(self):
        """What is left out together: the name without its last part."""
        return self.name.rsplit("_", 1)[0]

    def encode(self, variant, path):
        """Writes one coded version as a transport stream segment."""
        lines, kbps = (int(part) for part in (GRADED if variant == "graded" else variant).split("p"))
        kind, _, rest = self.path.partition(":")
        source, filters = ["-ss", self.start_s, "-i", self.path], ""
        if kind == "lavfi":
            source = ["-f", "lavfi", "-i", rest]
        elif kind == "still":
            source = ["-framerate", "25", "-i", rest]
            filters = (
                "scale=1500:844:force_original_aspect_ratio=increase:flags=bicubic,loop=loop=100:size=1,"
                "setpts=N/25/TB,crop=1280:720:(iw-1280)*t/4:(ih-720)*t/4,"
            )
        if variant == "graded":
            rng = random.Random(self.name)
            filters += (
                f"eq=contrast={rng.uniform(0.8, 1.25):.2f}:brightness={rng.uniform(-0.08, 0.08):.3f}:"
                f"saturation={rng.uniform(0.7, 1.4):.2f}:gamma={rng.uniform(0.8, 1.25):.2f},"
            )
        rate = ["-b:v", f"{kbps}k", "-maxrate", f"{kbps * 3 // 2}k", "-bufsize", f"{2 * kbps}k"]
        media._run(
            [*media.QUIET, "-y", *source, "-map", "0:v:0", "-t", self.seconds]
            + ["-vf", f"{filters}scale=-2:{lines}:flags=bicubic,format=yuv420p"]
            + ["-c:v", "libx264", "-preset", "veryfast", "-threads", "1", "-g", "60", *rate, "-f", "mpegts", str(path)]
        )


def read_listing(path, roots):
    """The windows of a listing."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [Window(line, roots) for line in lines if line.strip() and not line.startswith("#")]


def statistics(windows, cache, threads):
    """Bare statistics of every coded version: (rows [n, k], [(window, variant)]); kept in `cache` between runs."""
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    model = embedding.build()
    bare = embedding.Embedder(model)
    # Another graph makes other statistics.
    stamp = hashlib.sha256(model).hexdigest()[:8]

    def one(job):
        window, variant = job
        kept = cache / f"{window.name}~{variant}.{stamp}.npy"
        if not kept.exists():
            segment = cache / f"{window.name}~{variant}.ts"
            if not segment.exists():
                # A run that is killed must not leave half a segment.
                partial = segment.with_suffix(".partial")
                window.encode(variant, partial)
                partial.rename(segment)
            np.save(kept, bare.segment(segment))
        return np.load(kept)

    jobs = [(window, variant) for window in windows for variant in window.variants]
    with ThreadPool(threads) as pool:  # the work happens in child processes
        return np.stack(pool.map(one, jobs, chunksize=1)), jobs


class Material:
    """Rows of statistics with what they are of."""

    def __init__(self, rows, jobs, clusters):
        self.rows, self.jobs = rows, jobs
        self.names = np.array([window.name for window, _ in jobs])
        self.clips = np.array([window.clip for window, _ in jobs])
        self.contents = np.array([window.content for window, _ in jobs])
        self.tune = np.array([window.role == "tune" for window, _ in jobs])
        self.clusters = clusters

    def learn(self, keep):
        """What `embedding.fit` learns from the rows in `keep`: a content weighs as the root of its number of clips."""
        weights = np.zeros(len(self.rows))
        for content in sorted(set(self.contents[keep])):
            own = keep & (self.contents == content)
            weights[own] = len(set(self.clips[own])) ** 0.5 / own.sum()
        return embedding.fit(self.rows[keep], self.names[keep], weights[keep], DIMENSIONS, SHRINKAGE)

    def centroids(self, vectors, keep, cover):
        """({cluster: centroids}, centroids of what is unlike them) from the rows in `keep`."""
        means = {name: vectors[keep & (self.names == name)].mean(0) for name in sorted(set(self.names[keep]))}
        content = dict(zip(self.names, self.contents, strict=True))
        own = {
            name: cluster.centroids_of([m for n, m in means.items() if content[n] == name], cover, 10**6)
            for name in self.clusters
            if any(content[n] == name for n in means)
        }
        other = [m for n, m in means.items() if content[n] not in self.clusters]
        return own, cluster.centroids_of(other, cover, 10**6)


def _nearest(centroids, vectors):
    return np.sqrt(((vectors[:, None] - centroids[None]) ** 2).sum(2).min(1))


def _apart(own, other, name):
    """Distance of each centroid of `name` to the nearest centroid of other content."""
    foreign = np.concatenate([other, *(rows for key, rows in own.items() if key != name)])
    return _nearest(foreign, own[name])


def left_out(material, cover):
    """{cluster: [(reach, distance, row index)]} of left-out tuning rows whose nearest centroid is that cluster's.

    The reach of a row is its distance from that centroid over the centroid's distance to other content.
    """
    clips = sorted(set(material.clips[material.tune]))
    found = {name: [] for name in material.clusters}
    for seed in SHUFFLES:
        order = np.random.default_rng(seed).permutation(len(clips))
        for fold in range(FOLDS):
            out = np.isin(material.clips, [clips[i] for i in order[fold::FOLDS]]) & material.tune
            keep = material.tune & ~out
            vectors = embedding.project(material.learn(keep), material.rows)
            own, other = material.centroids(vectors, keep, cover)
            apart = {name: _apart(own, other, name) for name in own}
            for row in np.flatnonzero(out):
                squares = {name: ((rows - vectors[row]) ** 2).sum(1) for name, rows in own.items()}
                name = min(squares, key=lambda key: squares[key].min())
                place = int(squares[name].argmin())
                distance = float(squares[name][place] ** 0.5)
                if _nearest(other, vectors[row][None])[0] > distance:
                    found[name].append((distance / float(apart[name][place]), distance, int(row)))
    return found


def reaches(material, found):
    """{cluster: reach} from left-out windows, and the lines that say how they came about."""
    result, lines = {}, []
    for name, rows in found.items():
        own = [reach for reach, _, row in rows if material.contents[row] == name]
        foreign = sorted((reach, material.names[row]) for reach, _, row in rows if material.contents[row] != name)
        needed = float(np.quantile(own, OWN_QUANTILE)) if own else 0.0
        # Without a foreign window near, other content's own centroid is the nearest thing known.
        first = foreign[0][0] if foreign else 1.0
        result[name] = float(min(max(needed, (needed * first) ** 0.5), MARGIN * first))
        total = len(SHUFFLES) * int((material.tune & (material.contents == name)).sum())
        kept = sum(reach <= result[name] for reach in own)
        nearest = f"{first:.2f} ({foreign[0][1]})" if foreign else "none"
        lines.append(
            f"{name}: reach {result[name]:.2f}; left-out windows of its own inside {kept} of {total}, which need "
            f"{needed:.2f}; first left-out window of other content at {nearest}"
        )
    return result, lines


def report(material, vectors, clusters, rows):
    """A table of verdicts, one line a clip and role: windows, where they went, nearest distance over radius."""
    lines = [
        "| content | clip | coded windows | to its cluster | generic | to a wrong cluster | nearest distance / radius |"
    ]
    lines.append("|---|---|---:|---:|---:|---:|---:|")
    wrong = []
    for content in sorted(set(material.contents[rows]), key=lambda c: (c not in material.clusters, c)):
        for clip in sorted(set(material.clips[rows & (material.contents == content)])):
            own = np.flatnonzero(rows & (material.clips == clip))
            names = [clusters.assign(vectors[row]) for row in own]
            right = sum(name == content for name in names)
            astray = sum(name is not None and name != content for name in names)
            wrong += [material.names[row] for row, name in zip(own, names, strict=True) if name not in (None, content)]
            nearest = [clusters.nearest(vectors[row]) for row in own]
            ratios = [distance / radius for _, distance, radius, unlike in nearest if not unlike]
            ratio = f"{min(ratios):.2f}" if ratios else "unlike"
            lines.append(f"| {content} | {clip} | {len(own)} | {right} | {names.count(None)} | {astray} | {ratio} |")
    return lines, wrong


def draw(path, material, vectors, clusters):
    """A PNG of the only tested windows: distance over radius of the nearest centroid, one dot a coded window."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 2.6), dpi=90, layout="constrained")
    labels = [*material.clusters, "other content"]
    rng = np.random.default_rng(1)
    for line, label in enumerate(labels):
        own = ~material.tune & (material.contents == label)
        if label == "other content":
            own = ~material.tune & ~np.isin(material.contents, material.clusters)
        for row in np.flatnonzero(own):
            nearest, distance, radius, unlike = clusters.nearest(vectors[row])
            right = nearest.name == label
            colour = "tab:gray" if unlike else "tab:green" if right else "tab:red"
            axes.plot(distance / radius, line + rng.uniform(-0.3, 0.3), ".", color=colour, markersize=4)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set(
        yticks=range(len(labels)),
        yticklabels=labels,
        xlim=(0, 4),
        xlabel="distance to the nearest centroid / its radius",
    )
    axes.set_title("inside its own (green, left of the line), another's (red), or unlike all (grey)", fontsize="small")
    axes.invert_yaxis()
    # no date and no version inside: the same run gives the same bytes
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)


def run(options):
    """Learns, measures, writes."""
    roots = dict(pair.split("=", 1) for pair in options.root)
    windows = read_listing(options.listing, roots)
    rows, jobs = statistics(windows, options.cache, options.threads)
    material = Material(rows, jobs, options.clusters)
    print(f"{len(windows)} windows, {len(rows)} coded versions, {len(set(material.contents))} contents")
    learned = material.learn(material.tune)
    vectors = embedding.project(learned, rows)
    # The scale of things: how far a clip's windows lie from the nearest window of another clip of its content.
    scale = float(np.median([distance for rows in left_out(material, 0.0).values() for _, distance, _ in rows]))
    reach, lines = reaches(material, left_out(material, scale * COVER))
    print("\n".join(lines))
    model = embedding.build(learned)
    own, other = material.centroids(vectors, material.tune, scale * COVER)
    radii = {name: reach[name] * _apart(own, other, name) for name in own}
    result = cluster.Clusters(
        threshold=min(float(np.median(rows)) for rows in radii.values()),
        reach=min(reach.values()),
        dimensions=DIMENSIONS,
        sha256=hashlib.sha256(model).hexdigest(),
        unlike=other,
    )
    for name in options.clusters:
        count = len(set(material.names[material.tune & (material.contents == name)]))
        result.clusters.append(cluster.Cluster(name, radii[name], own[name], count))
    for title, which in (("only tested", ~material.tune), ("tuned on", material.tune)):
        table, wrong = report(material, vectors, result, which)
        print(
            f"\n{title}\n\n" + "\n".join(table) + f"\n\nwrong: {len(wrong)} of {int(which.sum())} {sorted(set(wrong))}"
        )
    if options.plot:
        draw(options.plot, material, vectors, result)
    if options.dry_run:
        return
    (options.zoo / cluster.NETWORK).write_bytes(model)
    cluster.write(options.zoo, result)
    print(f"\nwrote {cluster.NETWORK} ({len(model)} bytes) and {cluster.FILE}")


def main(arguments=None):
    """`python3 -m acuity_trainer.cluster_fit`."""
    parser = argparse.ArgumentParser(prog="acuity_trainer.cluster_fit", description=__doc__.splitlines()[0])
    parser.add_argument("listing", type=Path, help="tab-separated: name, content, role, path, start, length")
    parser.add_argument(
        "--root", action="append", default=[], metavar="NAME=DIR", help="what {NAME} in paths stands for"
    )
    parser.add_argument("--cache", type=Path, required=True, help="where coded windows and their statistics are kept")
    parser.add_argument("--clusters", nargs="+", default=["freedoom", "openttd", "bbb"], help="contents to ship")
    parser.add_argument("--zoo", type=Path, default=cluster.ZOO, help="where the result goes")
    parser.add_argument("--threads", type=int, default=2, help="windows coded at the same time")
    parser.add_argument("--plot", type=Path, help="also draw the tested windows, as a PNG (needs matplotlib)")
    parser.add_argument("--dry-run", action="store_true", help="print, write nothing")
    try:
        run(parser.parse_args(arguments))
    except media.MediaError as error:
        sys.exit(f"cluster_fit: {error}")


if __name__ == "__main__":
    main()
