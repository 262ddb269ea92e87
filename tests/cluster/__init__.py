"""Searches on clusters whose hosts come, go and are broken: namespaces of this machine as hosts."""
