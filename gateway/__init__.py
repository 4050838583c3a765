"""Tollgate: real-time call authorization for prepaid telephony."""
