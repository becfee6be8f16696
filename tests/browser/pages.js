// Serves the embedded pages from their sources, with a fake in place of the client module: what pages show of a room can
// be tried without one. Which files there are, and their types, is read from where they are embedded.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const WEB = join(HERE, "../../src/web");

/** `{url, close()}`. */
export async function startPages() {
  const source = await readFile(join(WEB, "mod.rs"), "utf8");
  const policy = source.match(/CONTENT_SECURITY_POLICY: &str = "([^"]*)"/)[1].replace(/\\\s+/g, "");
  const assets = new Map();
  for (const [, path, file, type] of source.matchAll(/asset!\(\s*"([^"]+)",\s*"([^"]+)",\s*"([^"]+)"\s*\)/g)) {
    assets.set(path, { file: join(WEB, file), type });
  }
  for (const [, path] of source.matchAll(/module!\(\s*"([^"]+)"\s*\)/g)) {
    assets.set(path, { file: join(WEB, "client", path), type: "text/javascript; charset=utf-8" });
  }
  assets.set("/costage.js", { file: join(HERE, "fake/costage.js"), type: "text/javascript; charset=utf-8" });
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const [status, body] = answer(request.method, pathname);
    if (status) {
      response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
      return;
    }
    const asset = assets.get(pathname);
    if (!asset) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "Content-Type": asset.type, "Content-Security-Policy": policy }).end(await readFile(asset.file));
  });
  await new Promise((done) => server.listen(Number(process.env.PAGES_PORT ?? 0), "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => new Promise((done) => (server.closeAllConnections(), server.close(done))),
  };
}

/** The calls that the pages make themselves. */
function answer(method, path) {
  if (method === "POST" && path === "/v1/tokens") return [201, { token: "a.b.c" }];
  if (path === "/v1/rooms/closed") return [404, { code: "room_not_found", detail: "no such room" }];
  if (path.startsWith("/v1/rooms/")) return [200, { id: "demo", phase: "live", host: { user: "ann", name: "Ann Berg" } }];
  return [];
}
