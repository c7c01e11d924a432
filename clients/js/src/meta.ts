// Where the gateway is, as the page itself says.

export function urlFromMeta(): string {
  const meta = globalThis.document?.querySelector<HTMLMetaElement>('meta[name="myxi-host"]');
  const content = meta?.content.trim();
  if (!content) throw new Error('there is no <meta name="myxi-host" content="…"> here');
  if (content.includes("://")) return content;
  // A page that came over TLS may open nothing less.
  return `${location.protocol === "https:" ? "wss" : "ws"}://${content}`;
}
