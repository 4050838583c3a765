"""Traces of what the gateway does, by OpenTelemetry.

What traces stands beside what is traced: a class here extends one of the gateway's, and the wiring takes the one or the
other. So whoever does not trace runs the very code that would be there without this package. Only opentelemetry.py
imports OpenTelemetry, and it is imported only where traces go somewhere.
"""
