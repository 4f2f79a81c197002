"""How text is made and read: the language-model boundary, its backends, prompts and experts."""
