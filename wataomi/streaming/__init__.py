"""What stands between the server and Django, so that long responses cost little and end well.

Reading order: `application` (the ASGI wrapper), `exchange` (one request and its response), `connection` (the client's
socket, and a module for each server that is known), `threads` (where sync code runs), `shutdown` (the end of the
process), `conf` (the settings).
"""
