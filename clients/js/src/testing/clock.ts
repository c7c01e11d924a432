// Time as tests have it: it stands still until a test moves it on. The build puts these in the place
// of the globals of the same names, in the library's code too: nothing happens by itself, nothing
// keeps a test from ending, and it is all the same whose timers a test has replaced.

type Task = () => void;

let now = 0;
let ids = 0;
const timers = new Map<number, { due: number; task: Task }>();
const tasks: Task[] = [];

export const performance = { now: () => now };

/** Without a time: after what is under way, as ever. */
export function setTimeout(task: Task, ms?: number): unknown {
  if (ms === undefined) return globalThis.setTimeout(task);
  timers.set(++ids, { due: now + Math.max(1, ms), task });
  return ids;
}

export function clearTimeout(id: unknown): void {
  timers.delete(id as number);
}

/** Run at the usual time, or before it by `settle`. */
export function queueMicrotask(task: Task): void {
  tasks.push(task);
  void Promise.resolve().then(settle);
}

/** All that is under way comes to its end now, but for promises. */
export function settle(): void {
  for (let task; (task = tasks.shift()); ) task();
}

/** `ms` later, with everything that is due until then. */
export function elapse(ms: number): void {
  if (!(ms >= 0)) throw new TypeError("say how many ms are to pass");
  const until = now + ms;
  settle();
  while (next(until));
  now = Math.max(now, until);
}

/** Up to what is due next, by `until`; whether there was anything. */
export function next(until = Infinity): boolean {
  const [first] = [...timers].sort(([, one], [, other]) => one.due - other.due);
  if (!first || first[1].due > until) return false;
  now = Math.max(now, first[1].due);
  return run(first[0]);
}

/** The timer that `work` sets first; 0 where it sets none. */
export function timerOf(work: Task): number {
  const timer = ids + 1;
  work();
  return timers.has(timer) ? timer : 0;
}

/** What a timer waits with, at once; whether there is one. */
export function run(timer: number): boolean {
  const task = timers.get(timer)?.task;
  timers.delete(timer);
  task?.();
  settle();
  return task !== undefined;
}
