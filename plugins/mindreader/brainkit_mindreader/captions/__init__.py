"""What the mappers learn from pictures and captions: targets and screened captions."""
