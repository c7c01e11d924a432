// What `import … from "myxi"` offers; global.ts offers the same.

export { Connection } from "./connection.js";
export { MyxiError } from "./error.js";
export type { Subscription } from "./subscription.js";
export type {
  ActionOptions,
  CloseInfo,
  ConnectionOptions,
  ErrorPayload,
  GapPayload,
  Handler,
  HandlerOptions,
  Message,
  NotRecoveredPayload,
  ReconnectOptions,
  Reply,
  Source,
  State,
  SubscribeOptions,
  SubscribedPayload,
  Tag,
  TopicPayload,
  UnsubscribedPayload,
  UrlSource,
} from "./types.js";
