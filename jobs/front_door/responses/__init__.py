"""The provider's Responses API before jobs: a job is kept as a chat completion, and told as a response on both ways."""
