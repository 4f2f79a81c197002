"""Two simulators trained apart on human dialogues, and what comes of it when they talk to each other."""
