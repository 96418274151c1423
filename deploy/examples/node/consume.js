// Every result once it is there, also those that came while this program was away: the
// durable consumer results-reader remembers. NATS_URL, NATS_USER, NATS_PASSWORD; LIMIT
// ends the program after so many.
import { jetstream } from "@nats-io/jetstream";
import { open } from "./orderworker.js";

const nc = await open(process.env.NATS_URL, process.env.NATS_USER, process.env.NATS_PASSWORD);
const reader = await jetstream(nc).consumers.get("ORDER_RESULTS", "results-reader");
let left = Number(process.env.LIMIT ?? Infinity);
for await (const m of await reader.consume({ max_messages: 100 })) {
  const event = m.json();
  console.log(event.status, event.outTradeNo, event.orderNumber ?? event.reason ?? "");
  // Do your own work first, and so that doing it twice does no harm: an event whose
  // acknowledgement is lost comes again.
  await m.ackAck();
  if (--left <= 0) break;
}
await nc.close();
