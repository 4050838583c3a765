"""Faults at random under load, and an audit of every answer: docs/operating/faults.md."""
