// How well media flows, from the browser's statistics: `good`, `weak` or `lost` per track, or nothing while unknown.

const LOSS = 0.05; // of the packets; more than this is seen and heard
const SLOW_MS = 600; // round trip; talking over each other begins here
const SILENT_READINGS = 2; // without a packet

/** Reads connections every so often; `of(track id)` gives what was found. */
export class Quality {
  #last = new Map();
  #found = new Map();
  #own = null;

  /** What comes in: by the id of the receiver's track. */
  of(stream) {
    if (!stream) return null;
    const all = stream.getTracks().map((track) => this.#found.get(track.id)).filter(Boolean);
    // The picture may be off; a track that flows proves the path.
    if (all.includes("weak")) return "weak";
    if (all.includes("good")) return "good";
    return all.includes("lost") ? "lost" : null;
  }

  /** What goes out. */
  get own() {
    return this.#own;
  }

  async read({ incoming, outgoing }) {
    const found = new Map();
    for (const connection of incoming.filter(Boolean)) await this.#incoming(connection, found);
    this.#found = found;
    this.#own = outgoing ? await this.#outgoing(outgoing) : null;
  }

  async #incoming(connection, found) {
    const broken = connection.connectionState !== "connected";
    for (const stat of (await connection.getStats()).values()) {
      if (stat.type !== "inbound-rtp" || !stat.trackIdentifier) continue;
      const { trackIdentifier: track, packetsReceived: received = 0, packetsLost: lost = 0, freezeCount: freezes = 0 } = stat;
      const before = this.#last.get(track) ?? { received, lost, freezes, silent: 0 };
      const [came, missed] = [received - before.received, Math.max(0, lost - before.lost)];
      const silent = came > 0 ? 0 : before.silent + 1;
      this.#last.set(track, { received, lost, freezes, silent });
      if (broken) found.set(track, "lost");
      else if (came > 0) found.set(track, missed / (came + missed) > LOSS || freezes > before.freezes ? "weak" : "good");
      else if (received > 0 && silent >= SILENT_READINGS) found.set(track, "lost");
    }
  }

  async #outgoing(connection) {
    if (connection.connectionState !== "connected") return "lost";
    for (const stat of (await connection.getStats()).values()) {
      const bad = stat.fractionLost > LOSS || stat.roundTripTime * 1_000 > SLOW_MS;
      if (stat.type === "remote-inbound-rtp" && bad) return "weak";
      if (stat.type === "outbound-rtp" && stat.qualityLimitationReason === "bandwidth" && !stat.rid) return "weak";
    }
    return "good";
  }
}
