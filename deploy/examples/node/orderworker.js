// What an upstream system needs of orderworker: publish an order, wait for its result.
// Publishing again is harmless: a second request with the same content is a duplicate.
import { jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";

const requests = "orders.package.request";
const results = "orders.package.result";

// open connects. A publisher's permissions limit where replies may go: inboxPrefix.
export const open = (servers, user, pass) =>
  connect({ servers, user, pass, inboxPrefix: user ? `_INBOX_${user}` : undefined });

// publish returns when the stream has stored the order. After an error publish it again.
export const publish = (nc, order) =>
  jetstream(nc).publish(requests, JSON.stringify(order), { expect: { streamName: "ORDERS" } });

// token is an outTradeNo as a part of a subject.
export const token = (outTradeNo) =>
  [...new TextEncoder().encode(outTradeNo)]
    .map((b) => /[A-Za-z0-9_-]/.test(String.fromCharCode(b))
      ? String.fromCharCode(b)
      : "%" + b.toString(16).toUpperCase().padStart(2, "0"))
    .join("");

// last is the last event of a subject, or null. It is read from the stream, not waited for.
async function last(nc, subject) {
  const m = await nc.request(`$JS.API.DIRECT.GET.ORDER_RESULTS.${subject}`, "", { timeout: 5000 });
  const status = m.headers?.code ?? 0; // of the server's own answers; an event has none
  if (status === 404) return null;
  if (status) throw new Error(`${subject}: ${status} ${m.headers.description}`);
  return m.json();
}

// wait asks until the order has a final event: succeeded or failed. A rejected event may be
// about another request with the same number, so it counts only where nothing else comes:
// its message says which field broke which rule.
export async function wait(nc, outTradeNo, timeout = 60_000) {
  const end = Date.now() + timeout;
  for (let pause = 100; Date.now() < end; pause = Math.min(pause * 1.5, 2000)) {
    for (const status of ["succeeded", "failed"]) {
      const event = await last(nc, `${results}.${status}.${token(outTradeNo)}`);
      if (event) return event;
    }
    await new Promise((next) => setTimeout(next, pause));
  }
  const rejected = await last(nc, `${results}.rejected.${token(outTradeNo)}`);
  if (rejected) return rejected;
  throw new Error(`${outTradeNo} is open after ${timeout} ms`);
}
