// Starts the server's binary and headless Chromium for a test, and keeps a picture of what went wrong.

import { chromium } from "playwright-core";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const BINARY = resolve(process.env.COSTAGE_BIN ?? join(HERE, "../../target/debug/costage"));
const CHROMIUM = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
const FAILURES = join(HERE, "failures");

const START_MS = 15_000;
const STOP_MS = 15_000;

// Loopback candidates, a fake camera without questions, and nothing that reaches out.
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
  "--autoplay-policy=no-user-gesture-required",
  "--allow-loopback-in-peer-connection",
];

/** Runs `costage serve` with these arguments; any free ports unless `ports` names some. */
export async function startServer(args, ports = {}) {
  // The settings of whoever runs the tests are not the tests'.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("COSTAGE_")));
  const settings = [
    `http.listen=127.0.0.1:${ports.http ?? 0}`,
    `admin.listen=127.0.0.1:${ports.admin ?? 0}`,
    `media.base_port=${ports.media ?? 0}`,
  ].flatMap((setting) => ["--set", setting]);
  const child = spawn(BINARY, ["serve", ...args, ...settings], { env, stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  const exited = new Promise((done) => child.on("exit", (code, signal) => done({ code, signal })));
  child.stderr.on("data", (text) => (log += text));
  let stdout = "";
  const urls = await new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`no start within ${START_MS} ms\n${log}`)), START_MS);
    child.on("error", fail);
    exited.then(({ code, signal }) => fail(new Error(`exit ${code ?? signal}\n${log}`)));
    child.stdout.on("data", (text) => {
      stdout += text;
      const line = stdout.match(/ on (http:\S+), admin on (http:\S+)\n/);
      if (!line) return;
      clearTimeout(timer);
      done({ url: line[1], admin: line[2] });
    });
  });
  return {
    ...urls,
    log: () => log,
    stdout: () => stdout,
    /** SIGTERM; resolves with how the process ended. */
    async stop() {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
      const end = await exited;
      clearTimeout(timer);
      return end;
    },
    /** SIGKILL: no time to say goodbye. */
    async kill() {
      child.kill("SIGKILL");
      return exited;
    },
  };
}

/** Headless Chromium with a profile of its own; `fps` of its fake cameras where the browser's own rate is too much. */
export async function startBrowser({ fps } = {}) {
  // The last one of a switch counts.
  const args = fps ? [...FLAGS, `--use-fake-device-for-media-stream=fps=${fps}`] : FLAGS;
  const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args });
  return {
    /** Opens `url` in a fresh context; `init` runs in the page before its own code. */
    async open(url, { viewport = { width: 1280, height: 800 }, init, ...options } = {}) {
      const context = await browser.newContext({ viewport, ...options });
      await context.addInitScript(recordConnections);
      if (init) await context.addInitScript(init);
      const page = await context.newPage();
      page.errors = [];
      page.on("pageerror", (error) => page.errors.push(String(error)));
      // Refusals of calls are part of the pages' life, and the browser reports each; anything else missing is an error.
      const refusal = (text) => text.startsWith("Failed to load resource");
      page.on("console", (message) => {
        if (message.type() === "error" && !refusal(message.text())) page.errors.push(message.text());
      });
      page.on("response", (response) => {
        const call = new URL(response.url()).pathname.startsWith("/v1/");
        if (!response.ok() && !call) page.errors.push(`${response.status()} ${response.url()}`);
      });
      await page.goto(url);
      return page;
    },
    /** Pictures of all open pages, named after the test. */
    async keepPictures(name) {
      mkdirSync(FAILURES, { recursive: true });
      const pages = browser.contexts().flatMap((context) => context.pages());
      for (const [index, page] of pages.entries()) {
        const path = join(FAILURES, `${name.replace(/\W+/g, "-")}-${index}.png`);
        await page.screenshot({ path }).catch(() => {});
        console.error(`${page.url()}: ${path}\n${page.errors.join("\n")}`);
      }
    },
    async closePages() {
      for (const context of browser.contexts()) await context.close();
    },
    close: () => browser.close(),
  };
}

/** In the page: remembers every RTCPeerConnection, for statistics the page itself does not show. */
function recordConnections() {
  window.connections = [];
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...args) {
      super(...args);
      window.connections.push(this);
    }
  };
}

/** Runs a test's body; on failure keeps pictures and the server's log. */
export async function kept(test, browser, server, body) {
  try {
    await body();
  } catch (error) {
    await browser.keepPictures(test.name);
    console.error(server?.log().split("\n").slice(-40).join("\n"));
    throw error;
  } finally {
    await browser.closePages();
  }
}

/** Waits until `check` gives something true, and returns that. */
export async function eventually(what, check, ms = 10_000) {
  const end = Date.now() + ms;
  for (;;) {
    const result = await check();
    if (result) return result;
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** What the page shows of its statistics. */
export async function stats(page) {
  const data = await page.locator("#stats").evaluate((output) => ({ ...output.dataset }));
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Number(value)]));
}

/** One entry of the newest connection's statistics per stream of `type`. */
export function streams(page, type) {
  return page.evaluate(async (type) => {
    const report = await window.connections.at(-1).getStats();
    return [...report.values()]
      .filter((stat) => stat.type === type)
      .map((stat) => ({ ...stat, mimeType: report.get(stat.codecId)?.mimeType }));
  }, type);
}

/** A JSON call to the server, with a token for `room` if one is named. */
export async function api(server, method, path, { room, body, user = "test", role = "service" } = {}) {
  const headers = { "Content-Type": "application/json" };
  if (room) {
    const { token } = await api(server, "POST", "/v1/tokens", { body: { room, user, role } });
    headers.Authorization = `Bearer ${token}`;
  }
  const response = await fetch(server.url + path, { method, headers, body: body && JSON.stringify(body) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

/** The sum of a metric over its labels. */
export async function metric(server, name) {
  const text = await (await fetch(`${server.admin}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

/** Some free ports: HTTP, admin, and three in a row for media. */
export async function freePorts() {
  const { createServer } = await import("node:net");
  const servers = await Promise.all(
    [0, 1].map(() => new Promise((done) => { const s = createServer().listen(0, "127.0.0.1", () => done(s)); })),
  );
  const [http, admin] = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  // Below the range that the system gives out by itself.
  return { http, admin, media: 20_000 + Math.floor(Math.random() * 10_000) };
}
