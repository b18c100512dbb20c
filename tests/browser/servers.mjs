// Starts the programs a browser test needs, on ports the system picks, and ends exactly those.

import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const root = fileURLToPath(new URL("../..", import.meta.url));
const running = [];

/** A port that was free a moment ago. */
async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function start(name, args) {
  const program = spawn(join(root, "target/release", name), args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  const log = [];
  for (const stream of [program.stdout, program.stderr]) {
    stream.on("data", (data) => {
      log.push(String(data));
      if (log.length > 500) log.shift();
    });
  }
  const entry = { name, program, log };
  running.push(entry);
  return entry;
}

async function until(what, url, entry, seconds = 60) {
  const end = Date.now() + seconds * 1000;
  while (Date.now() < end) {
    if (entry.program.exitCode !== null) break;
    try {
      if ((await fetch(url)).ok) return;
    } catch {
      // not listening yet
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${what} did not become ready:\n${entry.log.join("")}`);
}

/** The sample origin and, unless `plain`, the edge before it. Returns the addresses of both. */
export async function startServers({ plain }) {
  const [originPort, edgePort, adminPort] = [await freePort(), await freePort(), await freePort()];
  const origin = `http://127.0.0.1:${originPort}`;
  const edge = plain ? origin : `http://127.0.0.1:${edgePort}`;
  const sample = join(root, ".acuity/sample");
  const serving = start("sample-origin", ["--listen", `127.0.0.1:${originPort}`, "--sample", sample, "--edge", edge]);
  await until("the sample origin", `${origin}/sample/master.m3u8`, serving);
  if (!plain) {
    const admin = `127.0.0.1:${adminPort}`;
    const entry = start("acuity", ["serve", "--origin", origin, "--listen", `127.0.0.1:${edgePort}`, "--admin", admin]);
    await until("the edge", `http://${admin}/readyz`, entry);
  }
  return { origin, edge };
}

/** An origin of a folder with HLS in it, below /sample/. Gives its address. */
export async function startOrigin(folder) {
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const serving = start("sample-origin", ["--listen", `127.0.0.1:${port}`, "--sample", folder, "--edge", origin]);
  await until("an origin", `${origin}/sample/master.m3u8`, serving);
  return origin;
}

/** An edge of its own before `origin`, with these lines of configuration on top of the defaults and these on its route. */
export async function startEdge({ origin, settings, route }) {
  const [port, adminPort] = [await freePort(), await freePort()];
  const folder = await mkdtemp(join(tmpdir(), "acuity-browser-edge-"));
  const config = join(folder, "acuity.toml");
  await writeFile(config, `${settings}\n[[route]]\norigin = "${origin}"\n${route}\n`);
  const admin = `127.0.0.1:${adminPort}`;
  const entry = start("acuity", ["serve", "--config", config, "--listen", `127.0.0.1:${port}`, "--admin", admin]);
  await until("the edge", `http://${admin}/readyz`, entry);
  return { edge: `http://127.0.0.1:${port}`, admin: `http://${admin}`, pid: entry.program.pid };
}

/** Ends what was started here, by process, and keeps the logs of a failed run. */
export async function stopServers(failed) {
  // SIGINT: now; SIGTERM would let the edge drain first
  for (const { program } of running) program.kill("SIGINT");
  if (!failed) return;
  const folder = await mkdtemp(join(tmpdir(), "acuity-browser-logs-"));
  for (const [at, { name, log }] of running.entries()) await writeFile(join(folder, `${at}-${name}.log`), log.join(""));
  console.log(`logs of the servers: ${folder}`);
}

/** The source of a player as npm brought it. */
export function playerSource(path) {
  return readFile(join(root, "tests/browser/node_modules", path), "utf8");
}

/** A browser that plays without a screen, a card or a click, and talks to nobody but the page. */
export function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"],
  });
}
