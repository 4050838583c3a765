// One call through Tollgate: node call.js grpc|http OFFICE CALLED SECONDS
//
// TOLLGATE_LISTEN (gRPC) or TOLLGATE_URL (HTTP) says where, TOLLGATE_TOKEN as whom. Prints a line of JSON a step.
import { overGrpc } from './grpc.js';
import { overHttp } from './http.js';

const say = (step, fields) => console.log(JSON.stringify({ step, ...fields }));

// A switch's own work is left out: ringing, talking, and hanging up when granted seconds are over.
async function call(ask, office, called, seconds) {
  const ids = { officeId: office, callId: `node-${process.pid}-${called}` };

  const decided = await ask('authorize', { ...ids, direction: 'OUTBOUND', calledNumber: called });
  say('authorize', {
    call_id: ids.callId,
    decision: decided.decision,
    reason: decided.reason,
    granted_seconds: decided.grantedSeconds,
  });
  if (decided.decision !== 'GRANTED') return; // Do not connect. A denial is not kept, so there is nothing to end.

  const answered = await ask('answer', ids);
  say('answer', { granted_seconds: answered.grantedSeconds, debited_micros: Number(answered.debitedMicros) });

  // 10 s before granted seconds are over.
  const ticked = await ask('tick', { ...ids, usedSeconds: Math.max(decided.grantedSeconds - 10, 0) });
  say('tick', { granted_seconds: ticked.grantedSeconds, debited_micros: Number(ticked.debitedMicros) });

  const ended = await ask('end', { ...ids, durationSeconds: seconds, cause: 'NORMAL_CLEARING' });
  say('end', { billed_seconds: ended.billedSeconds, debited_micros: Number(ended.debitedMicros) });
}

const [transport, office, called, seconds] = process.argv.slice(2);
const ask = transport === 'http' ? overHttp() : overGrpc();
try {
  await call(ask, office, called, Number(seconds));
} catch (error) {
  // `code` is of the transport; `reason` is stable, and `field` names what is wrong.
  say('error', { code: String(error.code), reason: error.reason ?? error.message, field: error.field ?? '' });
  process.exitCode = 1;
}
