"""An arm, a metric and a world for unicrs-rl, from outside."""
