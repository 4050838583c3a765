"""Where browsers are sent: whether links that go by mail, and cookies, will work."""

from gateway.cli.doctor.findings import Findings
from gateway.cli.doctor.listeners import ask_http_health
from gateway.cli.health import NO_ANSWER, SERVING
from gateway.settings import Settings


async def examine_public_url(settings: Settings) -> Findings:
    """Look at where links point to."""
    findings = Findings("public url")
    url = settings.public_url
    if url is None:
        findings.warn(
            f"links and webhooks point to {settings.base_url}, which only this machine may reach",
            "set TOLLGATE_PUBLIC_URL to where browsers reach the HTTP listener",
        )
        return findings
    state = await ask_http_health(f"{url}/health/ready")
    if not url.startswith("https:"):
        findings.warn(
            f"{url} is not encrypted: sign-in links and cookies can be read on the way",
            "put a proxy that speaks TLS before it, and name that with https://",
        )
    if state == SERVING:
        findings.ok(f"{url} leads to a gateway")
    elif state == NO_ANSWER:
        findings.warn(
            f"{url} does not answer from this machine", "start the gateway and its proxy; from outside it may answer"
        )
    else:
        findings.warn(f"{url} is {state}", "does the proxy pass everything on to TOLLGATE_HTTP_LISTEN?")
    return findings
