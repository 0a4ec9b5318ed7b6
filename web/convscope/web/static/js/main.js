// The page of `convscope web`: starts each of its parts.

import { showClasses } from "./classes.js";
import { showCompare } from "./compare.js";
import { showDetails } from "./details.js";
import { byId } from "./dom.js";
import { offerDrawing } from "./draw.js";
import { showError } from "./errors.js";
import { showHeadline } from "./headline.js";
import { showHeatControls } from "./heat_controls.js";
import { offerInputs } from "./input.js";
import { showLayers } from "./layers.js";
import { showPicker } from "./picker.js";
import { loadModels } from "./loading.js";
import { followChoices } from "./requests.js";
import { offerSamples } from "./samples.js";
import { offerLink } from "./share.js";
import { showStage } from "./stage.js";
import { choices, session } from "./state.js";
import { showTabs } from "./tabs.js";
import { followTheme } from "./theme.js";
import { followAddress } from "./url.js";

followTheme();
followAddress();
followChoices();
showTabs();
showPicker();
showStage();
showHeatControls();
showClasses();
showLayers();
showCompare();
showDetails();
showHeadline();
offerInputs();
offerDrawing();
offerSamples();
offerLink();
session.on(["error"], () => {
  showError(byId("image-error"), session.values.error);
  showError(byId("welcome-error"), session.values.error);
});
byId("welcome-details").addEventListener("click", () => {
  choices.set({ tab: "details" });
  byId("tab-details").focus();
});
await loadModels();
