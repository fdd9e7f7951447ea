// A reader of text/event-stream, by the rules of the HTML standard (§ 9.2.6). EventSource could not send the token.

// EventReader is fed text in any pieces and calls onEvent with {type, data, id} for each event. id is the last one that
// was named, which is what to go on from.
export class EventReader {
  #rest = "";
  #skipLineFeed = false;
  #begun = false;
  #type = "";
  #data = [];
  #id = null;

  constructor(onEvent) {
    this.onEvent = onEvent;
  }

  push(text) {
    if (!this.#begun && text !== "") {
      this.#begun = true;
      if (text.startsWith("\uFEFF")) text = text.slice(1);
    }
    // A line ends with CR, LF or both, and the two of a pair may come in different pieces.
    if (this.#skipLineFeed && text !== "") {
      this.#skipLineFeed = false;
      if (text.startsWith("\n")) text = text.slice(1);
    }
    let start = 0;
    // Only what is new is searched: a line of hundreds of kilobytes comes in dozens of pieces.
    const end = /\r\n|\n|\r/g;
    for (let found = end.exec(text); found; found = end.exec(text)) {
      const line = this.#rest + text.slice(start, found.index);
      this.#rest = "";
      start = end.lastIndex;
      if (found[0] === "\r" && start === text.length) this.#skipLineFeed = true;
      this.#line(line);
    }
    this.#rest += text.slice(start);
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return undefined;
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "event") this.#type = value;
    else if (field === "data") this.#data.push(value);
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    return undefined;
  }

  #dispatch() {
    const data = this.#data;
    const type = this.#type || "message";
    this.#data = [];
    this.#type = "";
    if (data.length > 0) this.onEvent({ type, data: data.join("\n"), id: this.#id });
  }
}
