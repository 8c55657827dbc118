import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { ApiError, errorMessage } from "../../../lib/problem";
import { type Channel, ChannelGone } from "../channel";
import { failure } from "../failure";
import type { Tunnel } from "../session";
import { type ChannelEnd, type OpenChannel, type Opened, PIECE_BYTES } from "../wire";
import type { Sink } from "./save";

export type TransferState =
  | "waiting"
  | "running"
  /** What the machine has already is read once more, for the checksum of the whole. */
  | "checking"
  | "paused"
  /** The link was lost; it goes on by itself. */
  | "interrupted"
  /** There is a file of this name, and nobody has said that it may be replaced. */
  | "exists"
  | "done"
  | "failed";

export interface Transfer {
  id: number;
  direction: "up" | "down";
  /** For people. */
  name: string;
  /** At the machine. */
  path: string;
  /** Null while it is not known, as of an archive. */
  size: number | null;
  done: number;
  bytesPerSecond: number | null;
  state: TransferState;
  error: string | null;
  sha256: string | null;
}

export const isOnItsWay = ({ state }: Transfer) =>
  state === "waiting" || state === "running" || state === "checking" || state === "interrupted";

/** What can be waited for: files that people choose, not what a program makes up. */
export const MAX_TRANSFERS = 10_000;
/** As many run at a time; more of them share the same link. */
const MAX_RUNNING = 2;
const READ_BYTES = 1024 * 1024;
/** Pieces of a download are written to the disk together. */
const WRITE_BYTES = 256 * 1024;
const PUBLISH_MS = 200;
const SPEED_MS = 1_000;
/** An archive cannot be gone on with; it begins anew so often. */
const MAX_RESTARTS = 3;

interface Job {
  transfer: Transfer;
  run: (job: Job, mark: Mark) => Promise<Partial<Transfer>>;
  channel: Channel | null;
  mayReplace: boolean;
  /** Gives back what it holds when it will not be gone on with. */
  drop: () => void;
  speed: { at: number; done: number };
}
/** Notes how far it is. */
type Mark = (change: Partial<Transfer>) => void;

/** Thrown by a run that its user has stopped. */
class Stopped extends Error {}

/** Files on their way between this page and the machine. */
export class Transfers {
  private readonly jobs = new Map<number, Job>();
  private nextId = 1;
  private list: readonly Transfer[] = [];
  private isBusy = false;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private readonly listeners = new Set<() => void>();

  constructor(private readonly tunnel: Tunnel) {}

  readonly getList = () => this.list;
  readonly getIsBusy = () => this.isBusy;
  readonly onChange = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  start(): () => void {
    const stop = this.tunnel.onState(() => this.fill());
    return () => {
      stop();
      for (const { id } of this.list) this.remove(id);
    };
  }

  upload(file: File, path: string) {
    const upload = new Upload(this.tunnel, file, path);
    this.add({
      transfer: fresh("up", file.name, path, file.size),
      run: (job, mark) => upload.run(job, mark),
      drop: () => undefined,
    });
  }

  /** `size` of a file, null of a folder's archive. */
  download(name: string, path: string, size: number | null, sink: Sink) {
    const download = new Download(this.tunnel, path, size === null, sink);
    this.add({
      transfer: fresh("down", name, path, size),
      run: (job, mark) => download.run(job, mark),
      drop: () => {
        sink.abort().catch(() => undefined);
      },
    });
  }

  pause(id: number) {
    this.stop(id, { state: "paused", bytesPerSecond: null });
  }

  resume(id: number) {
    this.change(id, { state: "waiting", error: null });
    this.fill();
  }

  /** The file that is there may be replaced. */
  replace(id: number) {
    const job = this.jobs.get(id);
    if (job) job.mayReplace = true;
    this.resume(id);
  }

  /** Gives it up. */
  remove(id: number) {
    const job = this.jobs.get(id);
    if (!job) return;
    this.jobs.delete(id);
    job.channel?.end();
    if (job.transfer.state !== "done") job.drop();
    this.publish();
    this.fill();
  }

  removeDone() {
    for (const [id, { transfer }] of this.jobs) if (transfer.state === "done") this.remove(id);
  }

  private add(job: Pick<Job, "transfer" | "run" | "drop">) {
    if (this.jobs.size >= MAX_TRANSFERS) throw failure({ code: "too_many" });
    const id = this.nextId++;
    const transfer = { ...job.transfer, id };
    const speed = { at: 0, done: 0 };
    this.jobs.set(id, { ...job, transfer, channel: null, mayReplace: false, speed });
    this.publish();
    this.fill();
  }

  /** Starts what waits, as far as there is room. */
  private fill() {
    const { phase } = this.tunnel.getState();
    if (phase === "closed" || phase === "refused") {
      const error = "The session is over.";
      for (const [id, { transfer }] of this.jobs) {
        if (isOnItsWay(transfer)) this.change(id, { state: "failed", error });
      }
    }
    if (phase !== "ready") return;
    let running = 0;
    for (const { transfer } of this.jobs.values()) {
      if (transfer.state === "running" || transfer.state === "checking") running += 1;
    }
    for (const [id, job] of this.jobs) {
      if (running >= MAX_RUNNING) return;
      if (job.transfer.state !== "waiting" && job.transfer.state !== "interrupted") continue;
      running += 1;
      this.run(id, job);
    }
  }

  private async run(id: number, job: Job) {
    this.change(id, { state: "running", error: null });
    job.speed = { at: performance.now(), done: job.transfer.done };
    const mark: Mark = (change) => {
      // Paused or given up meanwhile: the run ends with its channel.
      if (job.transfer.state !== "running" && job.transfer.state !== "checking") {
        throw new Stopped();
      }
      this.change(id, { ...change, ...speedOf(job, change.done) });
    };
    let outcome: Partial<Transfer>;
    try {
      outcome = { ...(await job.run(job, mark)), state: "done" };
    } catch (error) {
      outcome = outcomeOf(error);
    }
    job.channel?.end();
    job.channel = null;
    const { state } = job.transfer;
    if (state === "running" || state === "checking") {
      this.change(id, { ...outcome, bytesPerSecond: null });
    }
    this.fill();
  }

  private stop(id: number, change: Partial<Transfer>) {
    const job = this.jobs.get(id);
    if (!job) return;
    this.change(id, change);
    job.channel?.end();
    this.fill();
  }

  private change(id: number, change: Partial<Transfer>) {
    const job = this.jobs.get(id);
    if (!job) return;
    const isNews = change.state !== undefined && change.state !== job.transfer.state;
    job.transfer = { ...job.transfer, ...change };
    if (isNews) this.publish();
    else this.timer ??= setTimeout(() => this.publish(), PUBLISH_MS);
  }

  private publish() {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.list = [...this.jobs.values()].map(({ transfer }) => transfer);
    this.isBusy = this.list.some(isOnItsWay);
    for (const notify of this.listeners) notify();
  }
}

function fresh(
  direction: "up" | "down",
  name: string,
  path: string,
  size: number | null,
): Transfer {
  return {
    ...{ id: 0, direction, name, path, size, done: 0, bytesPerSecond: null },
    ...{ state: "waiting", error: null, sha256: null },
  };
}

function speedOf(job: Job, done: number | undefined): Partial<Transfer> {
  const now = performance.now();
  const { at, done: before } = job.speed;
  if (done === undefined || now - at < SPEED_MS) return {};
  job.speed = { at: now, done };
  const speed = (Math.max(0, done - before) * 1000) / (now - at);
  const former = job.transfer.bytesPerSecond;
  return { bytesPerSecond: former === null ? speed : former * 0.6 + speed * 0.4 };
}

function outcomeOf(error: unknown): Partial<Transfer> {
  if (error instanceof ChannelGone && error.isLinkLost) return { state: "interrupted" };
  if (error instanceof ApiError && error.code === "already_exists") return { state: "exists" };
  if (error instanceof DOMException && error.name === "NotReadableError") {
    return { state: "failed", error: "The file on this computer cannot be read any more." };
  }
  return { state: "failed", error: errorMessage(error) };
}

/** A channel that is opened for one transfer. */
function openTransfer(
  tunnel: Tunnel,
  job: Job,
  asked: OpenChannel,
  onData?: (bytes: Uint8Array, dealt: () => void) => void,
) {
  let isOpen = false;
  let open: (opened: Opened) => void = () => undefined;
  let end: (end: ChannelEnd) => void = () => undefined;
  let fail: (error: unknown) => void = () => undefined;
  const opened = new Promise<Opened>((done, failed) => {
    open = done;
    fail = failed;
  });
  let failEnd: (error: unknown) => void = () => undefined;
  const ended = new Promise<ChannelEnd>((done, failed) => {
    end = done;
    failEnd = failed;
  });
  // Whoever waits for the one need not wait for the other.
  opened.catch(() => undefined);
  ended.catch(() => undefined);
  const channel = tunnel.open(asked, {
    onOpened: (answer) => {
      isOpen = true;
      open(answer);
    },
    onData: (bytes, _offset, dealt) => onData?.(bytes, dealt),
    onEnd: (how, isLinkLost) => {
      const error = isLinkLost
        ? new ChannelGone(true)
        : how.error
          ? failure(how.error)
          : isOpen
            ? null
            : new ChannelGone(false);
      if (error) {
        fail(error);
        failEnd(error);
      } else {
        end(how);
      }
    },
  });
  job.channel = channel;
  return { channel, opened, ended };
}

/** SHA-256 of a stream up to a place in it. */
class Hash {
  private hash = sha256.create();
  at = 0;
  take(bytes: Uint8Array) {
    this.hash.update(bytes);
    this.at += bytes.length;
  }
  restart() {
    this.hash = sha256.create();
    this.at = 0;
  }
  get hex() {
    return bytesToHex(this.hash.clone().digest());
  }
}

/** The same file chosen again goes on where it was cut, also on a page that was loaded again. */
export function resumeKey(file: Pick<File, "name" | "size" | "lastModified">): string {
  const text = `${file.name}\n${file.size}\n${file.lastModified}`;
  return bytesToHex(sha256(utf8ToBytes(text))).slice(0, 40);
}

class Upload {
  private readonly hash = new Hash();

  constructor(
    private readonly tunnel: Tunnel,
    private readonly file: File,
    private readonly path: string,
  ) {}

  async run(job: Job, mark: Mark): Promise<Partial<Transfer>> {
    const { channel, opened, ended } = openTransfer(this.tunnel, job, {
      kind: "upload",
      path: this.path,
      size: this.file.size,
      replace: job.mayReplace,
      resume_key: resumeKey(this.file),
    });
    const { received } = await opened;
    if (received < this.hash.at) this.hash.restart();
    if (this.hash.at < received) mark({ state: "checking" });
    while (this.hash.at < received) {
      this.hash.take(await this.read(this.hash.at, Math.min(READ_BYTES, received - this.hash.at)));
      mark({ done: this.hash.at });
    }
    mark({ state: "running", done: received });
    let next = this.read(received, READ_BYTES);
    for (let offset = received; offset < this.file.size; ) {
      const block = await next;
      // Read while this one is sent.
      next = this.read(offset + block.length, READ_BYTES);
      next.catch(() => undefined);
      for (let at = 0; at < block.length; at += PIECE_BYTES) {
        const piece = block.subarray(at, at + PIECE_BYTES);
        try {
          await channel.data(offset, piece);
        } catch (gone) {
          // The machine may have said why.
          await ended;
          throw gone;
        }
        this.hash.take(piece);
        offset += piece.length;
        mark({ done: offset });
      }
    }
    const hex = this.hash.hex;
    await channel.message({ type: "finish", sha256: hex });
    const { sha256 } = await ended;
    if (sha256 !== undefined && sha256 !== hex) throw failure({ code: "checksum_mismatch" });
    return { sha256: hex, done: this.file.size };
  }

  private async read(offset: number, most: number): Promise<Uint8Array> {
    return new Uint8Array(await this.file.slice(offset, offset + most).arrayBuffer());
  }
}

class Download {
  private readonly hash = new Hash();
  private modifiedMs: number | undefined;
  private restarts = 0;

  constructor(
    private readonly tunnel: Tunnel,
    private readonly path: string,
    private readonly isArchive: boolean,
    private readonly sink: Sink,
  ) {}

  async run(job: Job, mark: Mark): Promise<Partial<Transfer>> {
    if (this.isArchive && this.hash.at > 0) {
      if (++this.restarts > MAX_RESTARTS)
        throw failure({ code: "failed", detail: "The link was lost too often." });
      this.hash.restart();
      await this.sink.restart();
      mark({ done: 0 });
    }
    let held: { bytes: Uint8Array; dealt: () => void }[] = [];
    let heldBytes = 0;
    let writing = Promise.resolve();
    let writes = 0;
    const flush = () => {
      const block = new Uint8Array(heldBytes);
      const dealt = held;
      let at = 0;
      for (const { bytes } of held) {
        block.set(bytes, at);
        at += bytes.length;
      }
      held = [];
      heldBytes = 0;
      writes += 1;
      writing = writing.then(async () => {
        await this.sink.write(block);
        this.hash.take(block);
        mark({ done: this.hash.at });
        for (const one of dealt) one.dealt();
        writes -= 1;
        if (writes === 0 && heldBytes > 0) flush();
      });
      // Told of where it is waited for.
      writing.catch(() => job.channel?.end());
    };
    const { opened, ended } = openTransfer(
      this.tunnel,
      job,
      {
        kind: "download",
        path: this.path,
        offset: this.hash.at,
        ...(this.modifiedMs !== undefined && this.hash.at > 0 && { modified_ms: this.modifiedMs }),
        archive: this.isArchive,
      },
      (bytes, dealt) => {
        held.push({ bytes, dealt });
        heldBytes += bytes.length;
        // The machine sends no more than its window before this is dealt with, and that may be less than a block.
        if (writes === 0 || heldBytes >= WRITE_BYTES) flush();
      },
    );
    const { size, modified_ms } = await opened;
    this.modifiedMs ??= modified_ms;
    if (size !== undefined) mark({ size });
    let end: ChannelEnd;
    try {
      end = await ended;
    } finally {
      // What came before the link was lost need not come again.
      if (heldBytes > 0) flush();
      await writing;
    }
    // An end that was asked for from here is none of the file's.
    mark({});
    const isWhole = end.sha256 === this.hash.hex || (this.isArchive && end.sha256 === undefined);
    if (!isWhole) throw failure({ code: "checksum_mismatch" });
    await this.sink.close();
    return { sha256: this.hash.hex, done: this.hash.at, size: this.hash.at };
  }
}
