// The HTTP hooks: proto JSON with names in lowerCamelCase, enums by name and micros as strings.
const { TOLLGATE_URL, TOLLGATE_TOKEN } = process.env;

export class Fault extends Error {
  constructor(code, { reason, message, field }) {
    super(message);
    Object.assign(this, { code, reason, field });
  }
}

// Asks again while there is no answer: the ids in the request make that safe.
export const overHttp = () => async (operation, request) => {
  for (let attempt = 1; ; attempt += 1) {
    let fault;
    try {
      const answer = await fetch(`${TOLLGATE_URL}/v1/calls/${operation}`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${TOLLGATE_TOKEN}`, 'Content-Type': 'application/json' },
        body: JSON.stringify(request),
        signal: AbortSignal.timeout(1000),
      });
      const told = await answer.json().catch(() => ({}));
      if (answer.ok) return told;
      fault = new Fault(answer.status, told.error ?? { message: answer.statusText });
      if (answer.status !== 429 && answer.status < 500) throw fault;
    } catch (error) {
      if (error === fault) throw error;
      fault = new Fault(503, { reason: 'UNANSWERED', message: error.message });
    }
    if (attempt === 4) throw fault;
    await new Promise((resume) => setTimeout(resume, 50 * 2 ** attempt));
  }
};
