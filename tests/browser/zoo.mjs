// A directory of models that a test may change while the edge watches it: the shipped network under a cluster of its own, and
// the same with another digest. What a swap does to the pictures is the scenarios' subject; here it is what the player sees.

import { createHash } from "node:crypto";
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { root } from "./servers.mjs";

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** The network with a remark in it: `ModelProto.doc_string` is field 6, a string, and may stand anywhere. */
const remarked = (network, text) => Buffer.concat([network, Buffer.from([(6 << 3) | 2, text.length]), Buffer.from(text)]);

const entry = (cluster, digest) => `[[model]]
id = "${cluster}-x2-s"
cluster = "${cluster}"
scale = 2
tier = "s"
file = "${cluster}-x2-s.onnx"
sha256 = "${digest}"
parameters = 10380
contract = 1
licence = "Apache-2.0"
training_data = "none: made for a test"
`;

/** Files first, the catalogue last, each put in place by a rename. */
export async function makeZoo() {
  const directory = await mkdtemp(join(tmpdir(), "acuity-browser-zoo-"));
  const shipped = await readFile(join(root, "models/zoo/generic-x2-s.onnx"));
  const put = async (name, bytes) => {
    await writeFile(join(directory, `${name}.unfinished`), bytes);
    await rename(join(directory, `${name}.unfinished`), join(directory, name));
  };
  const publish = async (network) => {
    await put("game-x2-s.onnx", network);
    await put("catalogue.toml", entry("generic", sha256(shipped)) + entry("game", sha256(network)));
    return sha256(network);
  };
  await put("generic-x2-s.onnx", shipped);
  await publish(remarked(shipped, "before"));
  return {
    directory,
    /** Replaces the cluster's model; gives the new one's SHA-256. */
    swap: () => publish(remarked(shipped, "after")),
    remove: () => rm(directory, { recursive: true }),
  };
}
