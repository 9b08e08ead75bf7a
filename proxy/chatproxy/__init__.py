"""The chat proxy: authentication, prompt formats, history and streaming in front of one language-model engine."""
