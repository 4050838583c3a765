"""Where SQL and the store meet: what is decided in SQL is carried into the store, each thing once and in order.

Rpcs and loops both do it by these classes, so that what an rpc could not finish (the store was away, the process
died) is finished by a loop, and whoever comes second changes nothing.
"""
