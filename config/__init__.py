"""Owns: settings, the Celery app, URLs, how errors become HTTP answers, the embedded services and the simulator.

Does not own: any rule about people, money or jobs; it wires `jobs`, `billing` and `accounts` together.

Invariants: no app imports `config`; every setting is read from the environment in `config/settings.py` alone.
"""
