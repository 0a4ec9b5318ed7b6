// The choice of the model and of its version.

import { byId, fillSelect } from "./dom.js";
import { versionOptions } from "./models.js";
import { choices, session } from "./state.js";

/** Show the selects. */
export function showPicker() {
  const [model, version] = [byId("model"), byId("version")];
  byId("picker").addEventListener("submit", (event) => event.preventDefault());
  model.addEventListener("change", () =>
    choices.set({ model: model.value, version: "", target: null, against: null, method: "" }),
  );
  version.addEventListener("change", () => choices.set({ version: version.value }));
  session.on(["models"], update);
  choices.on(["model", "version"], update);
}

function update() {
  const { models } = session.values;
  const chosen = choices.values;
  const known = models.map(({ name }) => ({ value: name, text: name }));
  const entry = models.find(({ name }) => name === chosen.model);
  // A link may name a model that is gone. The select shows it, and the error explains it.
  if (chosen.model && !entry) known.push({ value: chosen.model, text: chosen.model });
  const versions = versionOptions(entry);
  if (chosen.version && !versions.some(({ value }) => value === chosen.version))
    versions.push({ value: chosen.version, text: chosen.version });
  fillSelect(byId("model"), known, chosen.model);
  fillSelect(byId("version"), versions, chosen.version);
  byId("model").disabled = byId("version").disabled = models.length === 0;
}
