// Values that the parts of the page share, and a notice when they change.

/** @template {Record<string, any>} T */
export class Store {
  /** @param {T} values The initial values. */
  constructor(values) {
    this.values = values;
    /** @type {{names: string[], listener: () => void}[]} */
    this.listeners = [];
  }

  /**
   * Set values. Listeners to one that really changed are called once, after all are set.
   * @param {Partial<T>} changes
   */
  set(changes) {
    const changed = Object.keys(changes).filter((name) => changes[name] !== this.values[name]);
    Object.assign(this.values, changes);
    for (const { names, listener } of this.listeners) {
      if (names.some((name) => changed.includes(name))) listener();
    }
  }

  /**
   * Call a listener when one of the values changes.
   * @param {string[]} names
   * @param {() => void} listener
   */
  on(names, listener) {
    this.listeners.push({ names, listener });
  }
}
