// What a script tag gives: the global `Myxi`, with what `import … from "myxi"` offers.

import { Connection, MyxiError } from "./index.js";

Object.assign(globalThis, { Myxi: { Connection, MyxiError } });
