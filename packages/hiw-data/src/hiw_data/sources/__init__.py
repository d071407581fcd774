"""Sources of clips: each streams them with captions and says where they come from."""
