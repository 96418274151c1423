// NATS_URL, NATS_USER and NATS_PASSWORD; then: node order.js OUT_TRADE_NO ICCID PACKAGE_CODE
import { open, publish, wait } from "./orderworker.js";

const [outTradeNo, iccid, packageCode] = process.argv.slice(2);
const nc = await open(process.env.NATS_URL, process.env.NATS_USER, process.env.NATS_PASSWORD);
await publish(nc, { outTradeNo, iccid, packageCode });
console.log(JSON.stringify(await wait(nc, outTradeNo)));
await nc.close();
