"""Who answers: seekers with a hidden target, and the environments they live in.

Importing this package registers ``unicrs_rl/Mcr-v0`` and ``unicrs_rl/Latent-v0`` with Gymnasium.
"""

import gymnasium

for _name, _user in (("Mcr", "mcr"), ("Latent", "latent")):
    if f"unicrs_rl/{_name}-v0" not in gymnasium.registry:
        gymnasium.register(
            f"unicrs_rl/{_name}-v0",
            entry_point="unicrs_rl.simulators.environment:ConversationEnv",
            vector_entry_point="unicrs_rl.simulators.environment:ConversationVectorEnv",
            kwargs={"user": _user},
        )
