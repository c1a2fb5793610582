"""Fast implementations of the update rules; `digrap.optim.paths` chooses one."""
