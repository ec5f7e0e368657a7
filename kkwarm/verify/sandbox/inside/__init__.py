"""Code that runs inside the sandbox. It is imported there as the package ``inside``, without the rest of kkwarm."""
