"""The world: catalogue, knowledge graph, seekers, embeddings, beliefs, facts and data readers."""
