"""Scenarios of a service, by MLPerf's names where it has them.

`offline` and `server` are MLPerf's scenarios (single-stream is the benchmark itself); `cold_start`
is the time from the start of a process to its first answer; `stages` is where a request's time
goes.
"""
