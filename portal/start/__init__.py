"""Everything that `./run` starts: database, simulator, worker and web server, and how they end together."""
