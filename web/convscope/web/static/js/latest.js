// Requests of which only the latest counts, such as those of a drawing that goes on.

/** Runs one request after another; of those that wait, only the latest. */
export class Latest {
  /** @param {(signal: AbortSignal) => Promise<void>} work */
  constructor(work) {
    this.work = work;
    this.controller = null;
    this.again = false;
  }

  /** @param {boolean} abort Whether to give up the request that runs. */
  async run(abort) {
    if (this.controller) {
      this.again = true;
      if (abort) this.controller.abort();
      return;
    }
    do {
      this.again = false;
      this.controller = new AbortController();
      try {
        await this.work(this.controller.signal);
      } finally {
        this.controller = null;
      }
    } while (this.again);
  }
}
