"""Real web and worker processes on real PostgreSQL and Redis, which are killed, frozen and restarted while runs go on.

    pytest tests/faults                     the directed tests, and 200 faults drawn at random from fixed seeds
    pytest tests/faults --faults 2000       as many as asked for
    pytest tests/faults --seed 17           the one scenario of that seed again: the same flows, the same faults

Reading order: `services` (PostgreSQL and Redis of the tests' own), `cluster` (the processes), `nodes_app` (node types
that count their effects), `flows` (random graphs), `clients` (who starts, commands and reads runs), `nemesis` (what is
done to it all), `laws` (what must be true in the end), `scenario` (all of it together).
"""
