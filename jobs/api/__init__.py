"""What `jobs` answers over HTTP: views read a request, call the stage that does the work, and represent its result."""
