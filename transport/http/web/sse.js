// EventReader reads text/event-stream by the HTML standard (§ 9.2.6). The browser's EventSource cannot send the token.

// The text may be pushed in pieces of any length. onEvent is called with {type, data, id} for each event. The id is the latest one of
// the stream, also for an event without an id.
export class EventReader {
  #incompleteLine = "";
  #skipLineFeed = false; // after a CR at the end of a piece
  #hasBegun = false;
  #type = "";
  #data = [];
  #id = null;

  constructor(onEvent) {
    this.onEvent = onEvent;
  }

  push(text) {
    const piece = this.#removeMarks(text);
    let start = 0;

    // Only the new text is searched, because a long line arrives in dozens of pieces.
    const lineEnd = /\r\n|\n|\r/g;
    for (let found = lineEnd.exec(piece); found; found = lineEnd.exec(piece)) {
      const line = this.#incompleteLine + piece.slice(start, found.index);
      this.#incompleteLine = "";
      start = lineEnd.lastIndex;
      if (found[0] === "\r" && start === piece.length) this.#skipLineFeed = true;
      this.#readLine(line);
    }
    this.#incompleteLine += piece.slice(start);
  }

  // removeMarks removes a byte order mark at the start of the stream, and a LF whose CR was in the piece before.
  #removeMarks(text) {
    let piece = text;
    if (!this.#hasBegun && piece !== "") {
      this.#hasBegun = true;
      if (piece.startsWith("\uFEFF")) piece = piece.slice(1);
    }
    if (this.#skipLineFeed && piece !== "") {
      this.#skipLineFeed = false;
      if (piece.startsWith("\n")) piece = piece.slice(1);
    }
    return piece;
  }

  #readLine(line) {
    if (line === "") {
      this.#dispatch();
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment

    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "event") this.#type = value;
    else if (field === "data") this.#data.push(value);
    else if (field === "id" && !value.includes("\0")) this.#id = value;
  }

  #dispatch() {
    const data = this.#data;
    const type = this.#type || "message";
    this.#data = [];
    this.#type = "";
    if (data.length > 0) this.onEvent({ type, data: data.join("\n"), id: this.#id });
  }
}
