"""Who decides: the unified policy, the planner, and the rules that a learned policy has to beat."""
