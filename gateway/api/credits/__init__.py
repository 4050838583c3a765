"""The Credits service: one small class a subject, each method from message to message."""
