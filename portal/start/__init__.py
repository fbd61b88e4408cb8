"""Everything that `./run` starts: the database, the simulator, the worker and the web server, and how they end together."""
