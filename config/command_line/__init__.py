"""The command line, `bursar`: a client of the REST API of a running Bursar, and nothing of the server.

It imports neither Django nor any app, so that it starts at once; `main` loads the one command that is asked for.
"""
