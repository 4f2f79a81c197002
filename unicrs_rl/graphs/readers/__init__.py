"""One reader per kind of data: each turns files into a :class:`~unicrs_rl.graphs.world.World`."""
