import type { Engine, Session } from "../runtime/engine.js";

/**
 * An engine that compiles every graph once, whichever model asks for it: tiny models of one kind have the same graphs, and compiling
 * takes longer than running them. Sessions live until the engine is closed.
 */
export function cachingEngine(inner: Engine): Engine {
  const sessions = new Map<string, Promise<Session>>();
  const shared = (session: Session): Session => ({
    inputNames: session.inputNames,
    outputNames: session.outputNames,
    run: (inputs, outputs, options) => session.run(inputs, outputs, options),
    close: () => Promise.resolve(),
  });
  return {
    name: inner.name,
    capabilities: inner.capabilities,
    lanes: inner.lanes,
    async compile(model, options) {
      const key = Buffer.from(model).toString("latin1");
      const known = sessions.get(key) ?? inner.compile(model, options);
      sessions.set(key, known);
      return shared(await known);
    },
    async close() {
      for (const session of sessions.values()) await (await session).close();
      sessions.clear();
      await inner.close();
    },
  };
}
