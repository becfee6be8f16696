// A WHIP and a WHEP client in a bare page: what the server's own pages do not do, and numbers they do not show.

/** Runs in the page before anything else; leaves `window.client`. */
export function installClient() {
  const newest = () => window.connections.at(-1);

  /** POSTs the offer and takes the answer, changed by `edit` if there is one. */
  async function negotiate(pc, { url, token, edit = (sdp) => sdp }) {
    await pc.setLocalDescription();
    const postedAt = performance.now();
    const response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/sdp", Authorization: `Bearer ${token}` },
      body: pc.localDescription.sdp,
    });
    const answer = await response.text();
    if (!response.ok) throw new Error(`POST ${url}: ${response.status} ${answer}`);
    await pc.setRemoteDescription({ type: "answer", sdp: edit(answer) });
    return { resource: new URL(response.headers.get("Location")).pathname, postedAt };
  }

  const only = (codec) =>
    RTCRtpSender.getCapabilities("video").codecs.filter((one) =>
      [`video/${codec}`, "video/rtx"].map((name) => name.toLowerCase()).includes(one.mimeType.toLowerCase()),
    );

  /** A picture no encoder can make small: whatever it may send, it does. */
  function noise(width, height) {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    const pictures = Array.from({ length: 6 }, () => {
      const picture = context.createImageData(width, height);
      for (let i = 0; i < picture.data.length; i += 1) picture.data[i] = i % 4 === 3 ? 255 : Math.random() * 256;
      return picture;
    });
    let turn = 0;
    setInterval(() => context.putImageData(pictures[(turn += 1) % pictures.length], 0, 0), 50);
    return canvas.captureStream(20).getVideoTracks()[0];
  }

  /** Publishes the fake camera and microphone in one codec. `encodings` as for `addTransceiver`. */
  async function publish({ codec, encodings, width = 1280, height = 720, frameRate = 20, content = "camera", ...call }) {
    const audio = true;
    const video = content === "camera" && { width, height, frameRate };
    const media = await navigator.mediaDevices.getUserMedia({ audio, video });
    if (content === "noise") media.addTrack(noise(width, height));
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    pc.addTransceiver(media.getAudioTracks()[0], { direction: "sendonly", streams: [media] });
    const camera = pc.addTransceiver(media.getVideoTracks()[0], { direction: "sendonly", streams: [media], sendEncodings: encodings });
    camera.setCodecPreferences(only(codec));
    const made = await negotiate(pc, call);
    // A busy machine must not make the picture smaller: the tests tell layers apart by their size.
    const parameters = camera.sender.getParameters();
    await camera.sender.setParameters({ ...parameters, degradationPreference: "maintain-resolution" });
    return made;
  }

  /** Plays `slots` audio and video pairs, each in a `<video>` of its own; resolves when connected. */
  async function view({ slots = 1, ...call }) {
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const players = Array.from({ length: slots }, () => {
      const stream = new MediaStream();
      const mids = ["video", "audio"].map((kind) => {
        const transceiver = pc.addTransceiver(kind, { direction: "recvonly" });
        stream.addTrack(transceiver.receiver.track);
        return transceiver;
      });
      const element = Object.assign(document.createElement("video"), { muted: true, autoplay: true, srcObject: stream });
      element.width = 320;
      document.body.append(element);
      return { element, transceiver: mids[0] };
    });
    window.players = players;
    const first = new Promise((done) => players[0].element.requestVideoFrameCallback((now) => done(now)));
    const { resource, postedAt } = await negotiate(pc, call);
    window.firstFrameMs = first.then((at) => at - postedAt);
    return { resource };
  }

  /** The newest connection's streams of `type` in `slot`: the one or more of video, and the one of audio. */
  async function media(type, slot = 0) {
    const report = await newest().getStats();
    const all = [...report.values()].filter((stat) => stat.type === type);
    const withCodec = (stat) => ({ ...stat, codec: report.get(stat.codecId)?.mimeType.replace("video/", "") });
    const mid = window.players?.[slot].transceiver.mid;
    const videos = all.filter((stat) => stat.kind === "video" && (mid === undefined || stat.mid === mid)).map(withCodec);
    return { video: videos[0], videos, audio: all.find((stat) => stat.kind === "audio") };
  }

  /** The path in use. */
  async function path() {
    const report = await newest().getStats();
    const transport = [...report.values()].find((stat) => stat.type === "transport");
    const pair = report.get(transport?.selectedCandidatePairId);
    return pair && { ...pair, local: report.get(pair.localCandidateId), remote: report.get(pair.remoteCandidateId) };
  }

  window.client = { publish, view, media, path };
}
