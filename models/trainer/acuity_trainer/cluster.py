"""`cluster VIDEO...`: which videos are alike, which known cluster is near, and which need a cluster of their own.

A cluster is a name and some centroids in the embedding's space (a film of many scenes needs more than one), each with
a radius: what lies further from the nearest centroid is none of it. `clusters.toml` holds them for the edge, beside
the catalogue. The error to avoid is a wrong specialised network on unlike content, so a radius is a measured part
(`reach`) of the distance to the nearest centroid of other content (docs/clustering.md), and what is in doubt stays
generic.
"""

import argparse
import dataclasses
import hashlib
import re
import sys
import tomllib
from pathlib import Path

import numpy as np

ZOO = Path(__file__).resolve().parents[2] / "zoo"
FILE, NETWORK, VERSION = "clusters.toml", "embedding.onnx", 1
NAME = re.compile(r"[a-z0-9_]{1,32}\Z")
# More centroids than this follow single windows instead of a kind of content.
MOST_CENTROIDS = 32
HEADER = """\
# Where the kinds of content lie, in the space of the embedding network named here. Written by the trainer's `cluster`
# and `cluster_fit`, read by trainer and edge; docs/clustering.md explains the figures.
"""


class ClusterError(RuntimeError):
    """Something a person can mend; the message says what."""


@dataclasses.dataclass
class Cluster:
    """One kind of content: centroids [k, d] and radii [k], how far from each content still counts as its own."""

    name: str
    radii: np.ndarray
    centroids: np.ndarray
    windows: int = 0


@dataclasses.dataclass
class Clusters:
    """All of `clusters.toml`.

    `threshold` is how near windows of one content typically lie, and a new centroid's largest radius; `reach` is the
    part of the distance to other content that a new centroid's radius may take.
    """

    threshold: float
    reach: float
    dimensions: int
    sha256: str
    clusters: list = dataclasses.field(default_factory=list)
    unlike: np.ndarray = None

    def nearest(self, vector):
        """(cluster, distance to the nearest centroid, its radius, whether unlike content is nearer), or None."""
        found = [
            (float(distance), number, place)
            for number, cluster in enumerate(self.clusters)
            for place, distance in enumerate(np.sqrt(((cluster.centroids - vector) ** 2).sum(1)))
        ]
        if not found:
            return None
        distance, number, place = min(found)
        cluster = self.clusters[number]
        return cluster, distance, float(cluster.radii[place]), _distance(self.unlike, vector) < distance

    def assign(self, vector):
        """The name of the cluster that a vector belongs to, or None: the edge's own rule."""
        found = self.nearest(vector)
        if found is None or found[3] or found[1] > found[2]:
            return None
        return found[0].name


def _distance(centroids, vector):
    if centroids is None or len(centroids) == 0:
        return float("inf")
    return float(np.sqrt(((centroids - vector) ** 2).sum(1).min()))


def centroids_of(vectors, cover, most=MOST_CENTROIDS):
    """Few centroids [k, d] such that each of `vectors` [n, d] has one within `cover`, if `most` suffice.

    Greedy: the vector that is furthest from all centroids becomes one, until none is far; then each centroid moves to
    the mean of those nearest to it. No random choice, so the same videos give the same file.
    """
    vectors = np.asarray(vectors, np.float64)
    chosen = [int(np.argmin(((vectors - vectors.mean(0)) ** 2).sum(1)))]
    distances = np.sqrt(((vectors - vectors[chosen[0]]) ** 2).sum(1))
    while distances.max() > cover and len(chosen) < most:
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, np.sqrt(((vectors - vectors[chosen[-1]]) ** 2).sum(1)))
    owner = np.argmin(((vectors[:, None] - vectors[chosen][None]) ** 2).sum(2), 1)
    return np.stack([vectors[owner == k].mean(0) for k in range(len(chosen))])


def group(vectors, threshold):
    """Group numbers of `vectors` [n][windows, d]: videos join while their typical windows are within `threshold`."""
    count = len(vectors)
    apart = np.zeros((count, count))
    for a in range(count):
        for b in range(a):
            between = np.sqrt(((vectors[a][:, None] - vectors[b][None]) ** 2).sum(2))
            apart[a, b] = apart[b, a] = max(np.median(between.min(1)), np.median(between.min(0)))
    groups = [[index] for index in range(count)]
    while len(groups) > 1:
        # Average linkage: one odd pair neither joins nor parts two groups.
        pairs = [
            (np.mean([apart[i, j] for i in groups[a] for j in groups[b]]), a, b)
            for a in range(len(groups))
            for b in range(a)
        ]
        nearest, a, b = min(pairs)
        if nearest > threshold:
            break
        groups[b] += groups.pop(a)
    numbers = np.zeros(count, int)
    for number, members in enumerate(sorted(groups, key=min)):
        numbers[members] = number
    return numbers


def load(zoo):
    """`clusters.toml` of a directory; its embedding network must be the one that the centroids were measured with."""
    path = Path(zoo) / FILE
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        network = (Path(zoo) / raw["embedding"]["file"]).read_bytes()
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise ClusterError(f"{path}: {error}") from error
    if hashlib.sha256(network).hexdigest() != raw["embedding"]["sha256"]:
        raise ClusterError(f"{raw['embedding']['file']} is not the network that {path.name} was measured with")
    dimensions = raw["embedding"]["dimensions"]
    array = lambda rows: np.asarray(rows, np.float64).reshape(-1, dimensions)  # noqa: E731
    clusters = [
        Cluster(entry["name"], np.asarray(entry["radii"]), array(entry["centroids"]), entry.get("windows", 0))
        for entry in raw.get("cluster", [])
    ]
    return Clusters(
        raw["threshold"],
        raw["reach"],
        dimensions,
        raw["embedding"]["sha256"],
        clusters,
        array(raw.get("unlike", {}).get("centroids", [])),
    )


def _number(value):
    # Four decimals are a thousandth of any radius; a TOML float has a point.
    return f"{round(float(value), 4):.6g}" if round(float(value), 4) % 1 else f"{value:.1f}"


def _rows(centroids):
    lines = ["  [" + ", ".join(_number(value) for value in row) + "]," for row in centroids]
    return "centroids = [\n" + "\n".join(lines) + "\n]\n"


def text_of(clusters):
    """`clusters.toml`."""
    parts = [HEADER, f"version = {VERSION}\n"]
    parts.append(
        "# For new clusters: the largest radius, and the part of the distance to other content that one may take.\n"
    )
    parts.append(f"threshold = {clusters.threshold:.4f}\nreach = {clusters.reach:.4f}\n")
    parts.append(f'\n[embedding]\nfile = "{NETWORK}"\nsha256 = "{clusters.sha256}"\n')
    parts.append(f"dimensions = {clusters.dimensions}\n")
    for cluster in clusters.clusters:
        parts.append(f'\n[[cluster]]\nname = "{cluster.name}"\nwindows = {cluster.windows}\n')
        parts.append(
            "radii = [" + ", ".join(_number(value) for value in cluster.radii) + "]\n" + _rows(cluster.centroids)
        )
    if clusters.unlike is not None and len(clusters.unlike):
        parts.append("\n# Content that is known to be of no cluster.\n[unlike]\n" + _rows(clusters.unlike))
    return "".join(parts)


def write(zoo, clusters):
    """Writes `clusters.toml` in one step, so that an edge that watches it never reads half a file."""
    partial = Path(zoo) / (FILE + ".partial")
    partial.write_text(text_of(clusters), encoding="utf-8")
    partial.rename(Path(zoo) / FILE)


def _free_name(clusters):
    taken, number = {cluster.name for cluster in clusters.clusters}, 1
    while f"cluster_{number}" in taken:
        number += 1
    return f"cluster_{number}"


def add(clusters, name, vectors):
    """Adds `vectors` [n, d] to the cluster `name`, which is opened where there is none; gives the cluster.

    A new centroid's radius is the measured threshold, or less where other content is near.
    """
    if not NAME.match(name) or name == "generic":
        raise ClusterError(f"cluster name {name!r} must be 1 to 32 of a-z, 0-9 and _, and not generic")
    known = next((cluster for cluster in clusters.clusters if cluster.name == name), None)
    fresh = centroids_of(vectors, clusters.threshold / 2)
    if known is None:
        known = Cluster(name, np.zeros(0), np.zeros((0, clusters.dimensions)))
        clusters.clusters.append(known)
    # What its centroids cover already adds nothing.
    fresh = fresh[[_distance(known.centroids, row) > clusters.threshold / 2 for row in fresh]]
    if clusters.unlike is not None:
        # What becomes a cluster is no longer unlike all of them.
        clusters.unlike = clusters.unlike[[_distance(fresh, row) > clusters.threshold / 2 for row in clusters.unlike]]
    others = [clusters.unlike, *(cluster.centroids for cluster in clusters.clusters if cluster is not known)]
    nearest = np.array([min(_distance(rows, row) for rows in others) for row in fresh])
    known.radii = np.concatenate([known.radii, np.minimum(clusters.threshold, clusters.reach * nearest)])
    known.centroids = np.concatenate([known.centroids, fresh])
    known.windows += len(vectors)
    return known


@dataclasses.dataclass
class Verdict:
    """One video's row of the table."""

    video: str
    windows: int
    nearest: str
    distance: float
    radius: float
    inside: int
    cluster: str  # the cluster it is of; "" where none is near


def judge(clusters, video, vectors):
    """A video's verdict from its windows' vectors: of a cluster when at least half of its windows are."""
    found = [clusters.nearest(vector) for vector in vectors]
    names = [clusters.assign(vector) for vector in vectors]
    if not found or found[0] is None:
        return Verdict(video, len(vectors), "-", float("inf"), 0.0, 0, "")
    counts = {name: names.count(name) for name in names if name}
    nearest = [cluster.name for cluster, *_ in found]
    name = max(counts, key=counts.get) if counts else max(nearest, key=nearest.count)
    # The typical window of those that are nearest to it.
    pairs = sorted((distance, radius) for cluster, distance, radius, _ in found if cluster.name == name)
    distance, radius = pairs[len(pairs) // 2]
    inside = counts.get(name, 0)
    return Verdict(video, len(vectors), name, distance, radius, inside, name if 2 * inside >= len(vectors) else "")


def add_arguments(parser):
    """The command's arguments."""
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video files, or playlists ffmpeg reads")
    parser.add_argument("--name", help="all the videos are of this cluster, known or new; else they are grouped")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a window: the edge's segments")
    parser.add_argument("--windows", type=int, default=8, help="windows looked at in each video, evenly spread")
    parser.add_argument("--zoo", type=Path, default=ZOO, help="the directory of clusters.toml and embedding.onnx")
    parser.add_argument("--dry-run", action="store_true", help="print, write nothing")


def run(options):
    """Prints the table and, unless it is a dry run, writes what is new to `clusters.toml`."""
    from . import embedding

    clusters = load(options.zoo)
    if options.name is not None and (not NAME.match(options.name) or options.name == "generic"):
        raise ClusterError(f"cluster name {options.name!r} must be 1 to 32 of a-z, 0-9 and _, and not generic")
    embedder = embedding.Embedder((Path(options.zoo) / NETWORK).read_bytes())
    vectors = [embedder.windows(video, options.windows, options.seconds) for video in options.videos]
    verdicts = [judge(clusters, video.name, rows) for video, rows in zip(options.videos, vectors, strict=True)]
    outcome = [f"of {verdict.cluster}" if verdict.cluster else "" for verdict in verdicts]
    if options.name is not None:
        add(clusters, options.name, np.concatenate(vectors))
        outcome = [f"declared {options.name}"] * len(verdicts)
    else:
        far = [index for index, verdict in enumerate(verdicts) if not verdict.cluster]
        for number in sorted(set(numbers := group([vectors[index] for index in far], clusters.threshold))):
            members = [index for index, own in zip(far, numbers, strict=True) if own == number]
            name = _free_name(clusters)
            add(clusters, name, np.concatenate([vectors[index] for index in members]))
            for index in members:
                outcome[index] = f"new: {name}"
    print(table(verdicts, outcome))
    if options.dry_run:
        print("dry run: nothing written")
        return
    write(options.zoo, clusters)
    print(f"wrote {FILE}: " + ", ".join(f"{cluster.name} ({len(cluster.centroids)})" for cluster in clusters.clusters))


def table(verdicts, outcome):
    """The verdicts as text, one line a video."""
    width = max([5, *(len(verdict.video) for verdict in verdicts)])
    lines = [f"{'video':{width}}  windows  nearest           distance  radius  inside  verdict"]
    for verdict, words in zip(verdicts, outcome, strict=True):
        lines.append(
            f"{verdict.video:{width}}  {verdict.windows:7d}  {verdict.nearest:16s}  {verdict.distance:8.2f}  "
            f"{verdict.radius:6.2f}  {verdict.inside:6d}  {words}"
        )
    return "\n".join(lines)


def main(arguments=None):
    """`python3 -m acuity_trainer.cluster`."""
    from . import media

    parser = argparse.ArgumentParser(prog="acuity_trainer.cluster", description=__doc__.splitlines()[0])
    add_arguments(parser)
    try:
        run(parser.parse_args(arguments))
    except (ClusterError, media.MediaError) as error:
        sys.exit(f"cluster: {error}")


if __name__ == "__main__":
    main()
