"""The MT interceptor: `jcli> mtinterceptor -a`, `script python3(/etc/jasmin/tollgate_interceptor.py)`.

Jasmin keeps this text and runs it for every message; what lives longer is in the module, which is imported once.
"""

from tollgate_jasmin import authorize

smpp_status, http_status = authorize(routable)  # noqa: F821 - Jasmin's: the message
