// One session over one WebSocket; see messages.py.

const MOST_WAITING = 2; // Seconds of sound that the network may be late.
const PIECE = 256 * 1024; // Bytes of a recording that are sent at once.
const PIECES = 4; // Of which so many wait.

export class Session {
  // `tell` gets each message; the last is `end` or `error`.
  constructor(tell) {
    this.tell = tell;
    this.isOver = false;
    this.isSending = false; // A recording.
    this.lost = 0; // Samples that the network did not take.
  }

  // Sound from a microphone with so many samples a second.
  listen(rate) {
    this.rate = rate;
    return this.open({ type: "start", rate });
  }

  // Sends a recording; `progress` gets the share that has gone.
  async upload(file, progress) {
    this.isSending = true;
    await this.open({ type: "upload", name: file.name, size: file.size });
    for (let start = 0; start < file.size && !this.isOver; start += PIECE) {
      let piece;
      try {
        piece = await file.slice(start, start + PIECE).arrayBuffer();
      } catch {
        this.finish(`${file.name} can not be read any more`);
        return;
      }
      while (this.socket.bufferedAmount > PIECES * PIECE) {
        if (this.isOver) return;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      this.send(piece);
      progress(Math.min(1, (start + PIECE) / file.size));
    }
    this.isSending = false;
  }

  hear(samples) {
    const room = MOST_WAITING * this.rate * 4;
    if (this.socket.bufferedAmount > room) {
      this.lost += samples.length;
      return;
    }
    if (this.lost) this.say({ type: "lost", count: this.lost });
    this.lost = 0;
    this.send(samples);
  }

  // The server tells the end of what was said, if there is anything.
  stop() {
    const isOpen = this.socket?.readyState === WebSocket.OPEN;
    if (isOpen && !this.isSending) {
      this.say({ type: "stop" });
    } else {
      this.take({ type: "end" });
      this.socket?.close();
    }
  }

  save() {
    this.say({ type: "save" });
  }

  open(first) {
    const url = new URL("listen", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => this.take(JSON.parse(data));
    return new Promise((resolve) => {
      this.socket.onopen = () => {
        this.say(first);
        resolve();
      };
      this.socket.onclose = () => {
        this.finish("The connection to emojax broke off: does it still run?");
        resolve();
      };
    });
  }

  take(message) {
    if (message.type === "end" || message.type === "error") this.isOver = true;
    this.tell(message);
  }

  // What went wrong on this side, unless the session was over already.
  finish(line) {
    if (this.isOver) return;
    this.take({ type: "error", line });
    this.socket?.close();
  }

  say(message) {
    this.send(JSON.stringify(message));
  }

  send(data) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(data);
  }
}
